"""Containers made of busybox, and a stage on which an engine runs them as an ordinary user."""

from __future__ import annotations

import functools
import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional, Union

import pytest

from tests.services.needs import is_root, need_command
from udocker.config import Config
from udocker.engine.base import Engine, Launch
from udocker.model.container import Container
from udocker.model.manifest import ImageConfig, Platform
from udocker.model.mode import ExecutionMode
from udocker.model.mount import Mount
from udocker.model.runspec import RunSpec
from udocker.run.execute import spawn
from udocker.run.plan import plan_run
from udocker.system.host import HostFacts

# nobody: a user that every machine has and that owns nothing.
ORDINARY = 65534
# Those that the suite calls; each is a link to busybox.
APPLETS = """
    cat cut echo env false grep id kill ls mount pwd rm sh sleep stty tail touch true tty umount
""".split()  # noqa: SIM905 - one line reads better than twenty
PASSWD = "root:x:0:0:root:/root:/bin/sh\nalice:x:1234:2345:Alice:/home/alice:/bin/sh\n"
GROUP = "root:x:0:\nusers:x:100:alice\nstaff:x:2345:\n"
# Seconds; an emulated machine (tests/kernels) takes many times as long.
TIMEOUT = 60 * int(os.environ.get("UDOCKER_TEST_SLOWNESS", "1"))


def is_static(program: Path) -> bool:
    """Whether an ELF file names no interpreter (elf(5), PT_INTERP), so that it runs in any root."""
    data = program.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01", "not a 64-bit little-endian ELF file"
    (start,), (size, count) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, start + size * number)[0] for number in range(count)]
    return 3 not in kinds


@functools.cache
def static_busybox() -> Path:
    """The host's busybox; skips where it is missing or needs shared libraries."""
    path = Path(need_command("busybox", "busybox-static"))
    if not is_static(path):
        pytest.skip("needs a static busybox: apt-get install busybox-static")
    return path


def make_root(root: Path) -> None:
    """A root file system with a shell and little else; no /proc, /dev or /sys."""
    (root / "bin").mkdir(parents=True)
    (root / "tmp").mkdir()
    (root / "etc").mkdir()
    shutil.copy(static_busybox(), root / "bin/busybox")
    (root / "bin/busybox").chmod(0o755)
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)


def give(path: Path) -> None:
    """Let the ordinary user own a tree, where the tests run as root."""
    if is_root():
        for name in [path, *path.rglob("*")]:
            os.chown(name, ORDINARY, ORDINARY, follow_symlinks=False)


def identity_options() -> dict[str, Any]:
    """Popen's options to become the ordinary user; none for one who is that already."""
    return {"user": ORDINARY, "group": ORDINARY, "extra_groups": []} if is_root() else {}


def caller() -> tuple[int, int]:
    """The user and group that programs are started as."""
    return (ORDINARY, ORDINARY) if is_root() else (os.getuid(), os.getgid())


@functools.cache
def host_facts() -> HostFacts:
    """This host's, as the user finds them that programs are started as."""
    uid, gid = caller()
    return replace(HostFacts.read(), uid=uid, gid=gid)


@dataclass(frozen=True)
class Result:
    """How a run ended: a negative status is a signal's."""

    status: int
    out: bytes
    err: bytes


@dataclass(frozen=True)
class Stage:
    """One container under one engine; ``host`` is a directory of the user outside its root."""

    container: Container
    engine: Engine
    mode: ExecutionMode
    host: Path

    @property
    def root(self) -> Path:
        return Path(self.container.root)

    @property
    def somebody(self) -> str:
        """A user that the program can be: not the caller's number, where the engine has others."""
        return "alice" if self.engine.abilities.other_users else str(caller()[0])

    def image(self, **changes: Any) -> Stage:
        """The same with other values in the image's configuration."""
        config = replace(self.container.config, **changes)
        return replace(self, container=replace(self.container, config=config))

    def file(self, path: Union[str, bytes], content: str = "content\n", mode: int = 0o644) -> Path:
        """A file of the user below ``host``, or below the root for a path ``ROOT/…``."""
        name = Path(os.fsdecode(path))
        parts = name.parts
        place = self.root.joinpath(*parts[1:]) if parts[0] == "ROOT" else self.host / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
        place.chmod(mode)
        give(self.host)
        give(self.root)
        return place

    def plan(
        self,
        *command: str,
        mounts: tuple[Mount, ...] = (),
        environ: Optional[Mapping[str, str]] = None,
        facts: Optional[HostFacts] = None,
        **spec: Any,
    ) -> Launch:
        """The launch of ``command``; ``spec`` are RunSpec's fields."""
        wanted = RunSpec(command=command, mounts=mounts, **spec)
        config = Config.from_environment({"HOME": str(self.host)})
        choice = (self.engine, self.mode)
        return plan_run(config, self.container, wanted, environ or {}, facts or host_facts(), choice)

    def start(self, launch: Launch, **options: Any) -> subprocess.Popen[bytes]:
        """Start it as the ordinary user."""
        return spawn(launch, **{**identity_options(), **options})

    def run(self, *command: str, stdin: bytes = b"", **spec: Any) -> Result:
        """Run ``command`` to its end."""
        return self.finish(self.plan(*command, **spec), stdin)

    def finish(self, launch: Launch, stdin: bytes = b"", **options: Any) -> Result:
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        with self.start(launch, **{**pipes, **options}) as process:
            out, err = process.communicate(stdin, timeout=TIMEOUT)
        return Result(process.returncode, out, err)

    def output(self, *command: str, **spec: Any) -> str:
        """What a run that succeeds prints."""
        result = self.run(*command, **spec)
        assert (result.status, result.err) == (0, b""), result
        return os.fsdecode(result.out)


def make_stage(directory: Path, engine: Engine, mode: ExecutionMode) -> Stage:
    """A fresh container below ``directory``, which the ordinary user must be able to reach."""
    host, home = directory / "host", directory / "container"
    host.mkdir()
    make_root(home / "ROOT")
    give(directory)
    config = ImageConfig(document={}, platform=Platform("unknown", "unknown"))
    return Stage(Container("0" * 36, str(home), "busybox:latest", config), engine, mode, host)


def remove(directory: Path) -> None:
    """Delete what a test left, whatever permissions it gave."""
    for path, names, _ in os.walk(directory):
        for name in [path, *(os.path.join(path, name) for name in names)]:
            if not os.path.islink(name):
                os.chmod(name, stat.S_IRWXU)
    shutil.rmtree(directory)
