"""Engine R: user namespaces, through the native launcher udocker-userns."""

from __future__ import annotations

import os
from collections.abc import Iterator

from udocker.engine.base import Launch, Process, Support
from udocker.engine.binaries import locate
from udocker.errors import EngineUnavailable
from udocker.model.container import Container
from udocker.model.mode import ExecutionMode
from udocker.values import TYPE_CHECKING, dataclass, replace

if TYPE_CHECKING:
    from typing import Optional

    from _typeshed import StrPath

PROGRAM = "udocker-userns"
_PROBE_SECONDS = 30


@dataclass(frozen=True)
class UsernsEngine:
    """Runs at native speed, without changing the container.

    ``installed`` is where ``udocker install`` puts another launcher.  ``program`` replaces both, ``without``
    names system calls that the launcher must do without, as on older kernels: these are for tests.
    """

    program: Optional[StrPath] = None
    without: tuple[str, ...] = ()
    installed: Optional[StrPath] = None

    def using(self, installed: str) -> UsernsEngine:
        """The same engine, with the launcher in a directory if there is one."""
        return replace(self, installed=installed)

    def check(self) -> Support:
        """Try the namespaces in a process of their own."""
        import subprocess  # a run does not probe where there is no other engine

        try:
            probe = subprocess.run(
                [self._launcher(), "--probe"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_PROBE_SECONDS,
                check=False,
            )
        except EngineUnavailable as error:
            return Support(False, error.message, error.hint)
        except (OSError, subprocess.TimeoutExpired) as error:
            return Support(False, f"engine: {PROGRAM}: {error}")
        if probe.returncode == 0:
            return Support(True)
        reason = os.fsdecode(probe.stderr).strip() or f"ended with status {probe.returncode}"
        return Support(
            False, reason[len("udocker: run: ") :] if reason.startswith("udocker: run: ") else reason
        )

    def prepare(self, container: Container, mode: ExecutionMode) -> None:
        """Nothing: the container's files are used as they are."""

    def restore(self, container: Container, mode: ExecutionMode) -> None:
        """Nothing was changed."""

    def plan(self, container: Container, process: Process, mode: ExecutionMode) -> Launch:
        """The launcher's command line; its environment is the program's, which it passes on as it is."""
        argv = (self._launcher(), *self._options(container, process), "--", *process.argv)
        return Launch(argv, process.env, "/")

    def _launcher(self) -> str:
        return os.fspath(self.program) if self.program else locate(PROGRAM, installed=self.installed)

    def _options(self, container: Container, process: Process) -> Iterator[str]:
        yield from ("--root", os.path.abspath(container.root))
        yield from ("--uid", str(process.identity.uid), "--gid", str(process.identity.gid))
        yield from ("--workdir", process.workdir)
        if process.read_only:
            yield "--read-only"
        for call in self.without:
            yield from ("--without", call)
        for path in process.volumes:
            yield from ("--volume", path)
        for path in process.scratch:
            yield from ("--scratch", path)
        for mount in process.mounts:
            yield from ("--bind-ro" if mount.read_only else "--bind", mount.source, mount.target)
        for file in process.files:
            yield from ("--extend", file.source, file.target, file.text)
