"""Engine P by somebody else's PRoot in place of our own tracer: UDOCKER_USE_PROOT_EXECUTABLE.

PRoot's versions differ, and some show the host's files where the container's are asked for: each is tried
before it is used.
"""

from __future__ import annotations

import os

from udocker.engine.base import Abilities, Launch, Process, Support
from udocker.engine.binaries import locate
from udocker.engine.translator import TRANSLATOR
from udocker.errors import EngineUnavailable
from udocker.log import Log
from udocker.model.container import Container
from udocker.model.mode import ExecutionMode
from udocker.model.mount import Mount
from udocker.values import TYPE_CHECKING, dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Optional

    from _typeshed import StrPath

SETTING = "UDOCKER_USE_PROOT_EXECUTABLE"
_INSIDE = "/probe"
_SECONDS = 30
# P2 is PRoot without its filter (proot(1), PROOT_NO_SECCOMP).
_ENVIRONMENT = {ExecutionMode.P1: {}, ExecutionMode.P2: {"PROOT_NO_SECCOMP": "1"}}
_OURS = f"leave {SETTING} unset for udocker's own tracer"
_LOG = Log(__name__)


@dataclass(frozen=True)
class ProotEngine:
    """Runs programs under the PRoot ``proot``, a path or a name in PATH."""

    proot: str
    installed: Optional[StrPath] = None

    @property
    def abilities(self) -> Abilities:
        """PRoot lets a program believe that it is anybody, and shows it another kernel's release."""
        return Abilities(other_users=True, kernel_release=True)

    def using(self, installed: str) -> ProotEngine:
        """The same engine, which tries PRoot with our program in a directory if there is one."""
        return replace(self, installed=installed)

    def doing_without(self, features: tuple[str, ...]) -> ProotEngine:
        """The same engine: PRoot cannot be told."""
        return self

    def check(self, mode: ExecutionMode) -> Support:
        """Whether it is there, runs a program in an empty root, and keeps a directory of the host from it."""
        import tempfile  # a run with PRoot is not on the warm path

        try:
            probe = locate(TRANSLATOR, installed=self.installed)
            with tempfile.TemporaryDirectory(prefix="udocker-proot-") as directory:
                return _try(self._program(), _ENVIRONMENT[mode], probe, directory)
        except EngineUnavailable as error:
            return Support(False, error.message, error.hint)
        except OSError as error:
            return Support(False, f"{self.proot}: {error.strerror}", _OURS)

    def prepare(self, container: Container, mode: ExecutionMode) -> None:
        """Nothing: the container's files are used as they are."""

    def restore(self, container: Container, mode: ExecutionMode) -> None:
        """Nothing was changed."""

    def plan(self, container: Container, process: Process, mode: ExecutionMode) -> Launch:
        """PRoot's command line.  Raises EngineUnavailable for what PRoot cannot do."""
        asked = (*_options(container, process), *process.argv)
        return Launch((self._program(), *asked), {**process.env, **_ENVIRONMENT[mode]}, "/")

    def join(self, run: Launch, joining: Any) -> Launch:
        """PRoot has no way into a run."""
        raise EngineUnavailable(f"exec: {self.proot}: nothing can join a run under PRoot", _OURS)

    def _program(self) -> str:
        found = self.proot
        if "/" not in found:
            import shutil

            found = shutil.which(found) or ""
        if not os.access(found, os.X_OK):
            raise EngineUnavailable(f"{SETTING}: {self.proot}: not there, or not executable", _OURS)
        return os.path.abspath(found)


def _is_protected(mount: Mount) -> bool:
    """Whether it is for us to keep the program from writing: the caller may, or may somewhere below."""
    return mount.read_only and (os.path.isdir(mount.source) or os.access(mount.source, os.W_OK))


def _options(container: Container, process: Process) -> Iterator[str]:
    if process.read_only or any(map(_is_protected, process.mounts)):
        raise EngineUnavailable("run: PRoot has no read-only binds", _OURS)
    yield from ("-r", os.path.abspath(container.root), "-w", process.workdir)
    yield from ("-i", f"{process.identity.uid}:{process.identity.gid}")
    if process.kernel:
        yield from ("-k", process.kernel)
    for mount in process.mounts:
        if ":" in mount.source + mount.target:
            raise EngineUnavailable(f"run: {mount.source}: PRoot binds no path with a colon", _OURS)
        yield from ("-b", f"{mount.source}:{mount.target}")
    if process.files or process.scratch:
        _LOG.debug("run: PRoot: no lines are added to files, and no directories are the run's own")


def _try(proot: str, environment: dict[str, str], probe: str, directory: str) -> Support:
    """Let our program in a root look for a directory that only the host has."""
    import subprocess

    root, secret = os.path.join(directory, "root"), os.path.join(directory, "secret")
    os.mkdir(root)
    os.mkdir(secret)
    command = [proot, "-r", root, "-b", f"{probe}:{_INSIDE}", "-w", "/", _INSIDE, "--root", secret, "--", "-"]
    env = {"PATH": "/usr/bin:/bin", "PROOT_TMP_DIR": directory, **environment}
    try:
        result = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Support(False, f"{proot}: no answer within {_SECONDS} s", _OURS)
    told = os.fsdecode(result.stderr).strip()
    if result.returncode == 125 and f"{secret}: No such file or directory" in told:
        return Support(True)
    if told.startswith("udocker: run: "):
        return Support(False, f"{proot}: this PRoot shows the host's files in the container", _OURS)
    last = told.splitlines()[-1] if told else f"ended with status {result.returncode}"
    return Support(False, f"{proot}: cannot run a program: {last}", _OURS)
