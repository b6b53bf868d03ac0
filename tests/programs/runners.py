"""One root, and the ways to run a command in it: chroot, which shows what is right, and every engine."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.contract.roots import ORDINARY, Stage, identity_options
from tests.services.needs import need_command, need_root

# What every program finds, however it is started.
ENVIRONMENT = (
    *("PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/tmp", "USER=nobody", "LANG=C.UTF-8"),
    *("GOCACHE=/tmp/go", "GOFLAGS=-mod=mod", "JAVA_TOOL_OPTIONS=-XX:-UsePerfData"),
)
SYSTEM = ("proc", "sys", "dev")


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it said on both of its outputs together."""

    status: int
    text: str


class Runner(Protocol):
    """A way to run a shell's script in a root, as an ordinary user."""

    name: str
    root: Path

    def __call__(self, script: str, timeout: float = 600) -> Outcome: ...


@dataclass(frozen=True)
class Chroot:
    """The kernel's own chroot, in a mount namespace with the system directories that engines show."""

    root: Path
    name: str = "chroot"

    def __call__(self, script: str, timeout: float = 600) -> Outcome:
        need_root()
        mounts = " && ".join(f'mount --rbind /{name} "$1"/{name}' for name in SYSTEM)
        chroot = f'exec chroot --userspec={ORDINARY}:{ORDINARY} --groups= "$root" "$@"'
        enter = f"{mounts} && root=$1 && shift && {chroot}"
        unshare = (need_command("unshare", "util-linux"), "--mount", "--propagation", "private")
        return _finish([*unshare, "sh", "-c", enter, "sh", str(self.root), *_command(script)], timeout)


@dataclass(frozen=True)
class Engined:
    """An engine, in one of its modes."""

    name: str
    stage: Stage

    @property
    def root(self) -> Path:
        return self.stage.root

    def __call__(self, script: str, timeout: float = 600) -> Outcome:
        launch = self.stage.plan(*_command(script), user=f"{ORDINARY}:{ORDINARY}")
        return _finish(launch.argv, timeout, env=launch.env, cwd=launch.cwd, **identity_options())


def _command(script: str) -> Sequence[str]:
    return ("/usr/bin/env", "-i", *ENVIRONMENT, "sh", "-c", script)


def _finish(argv: Sequence[str], timeout: float, **options: object) -> Outcome:
    """Run to the end, or until the time is up: then its session is killed, and the status is the signal's."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(argv, start_new_session=True, **pipes, **options) as process:  # type: ignore[call-overload]
        try:
            text, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.killpg(process.pid, signal.SIGKILL)
            text, _ = process.communicate()
    return Outcome(process.returncode, text.decode(errors="replace"))


def workplace(runner: Runner, name: str) -> str:
    """A new directory of the ordinary user in the root, as programs there call it."""
    parent = runner.root / "build" / name
    parent.mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{runner.name}-", dir=parent))
    os.chown(directory, ORDINARY, ORDINARY)
    return f"/{directory.relative_to(runner.root)}"
