"""Engine T: system calls that take paths are trapped and translated in the program's own processes.

The native launcher udocker-trap becomes the program and stays in it.  Neither namespaces nor privileges are
needed, and it is no security boundary: a program that wants out gets out.
"""

from __future__ import annotations

import os

from udocker.engine.base import Abilities, Joining, Launch, Process, Support
from udocker.engine.binaries import locate
from udocker.engine.launcher import TRANSLATOR, again, probe, translator_options
from udocker.model.container import Container
from udocker.model.mode import ExecutionMode
from udocker.values import TYPE_CHECKING, dataclass, replace

if TYPE_CHECKING:
    from typing import Optional

    from _typeshed import StrPath

PROGRAM = TRANSLATOR

# What a mode asks of the launcher.
_OPTIONS = {ExecutionMode.T1: (), ExecutionMode.T2: ("--patch",)}


@dataclass(frozen=True)
class TrapEngine:
    """Runs near native speed; T2 traps each call site once and rewrites it then, T1 traps every time.

    ``installed``, ``program`` and ``without`` are as in engine R.
    """

    program: Optional[StrPath] = None
    without: tuple[str, ...] = ()
    installed: Optional[StrPath] = None

    @property
    def abilities(self) -> Abilities:
        """Who the program is, and what uname(2) answers, is trapped as paths are."""
        return Abilities(
            other_users=True, kernel_release=True, emulates_users=True, ports=True, emulators=True
        )

    def using(self, installed: str) -> TrapEngine:
        """The same engine, with the launcher in a directory if there is one."""
        return replace(self, installed=installed)

    def doing_without(self, features: tuple[str, ...]) -> TrapEngine:
        """The same engine, made to fall back."""
        return replace(self, without=features)

    def check(self, mode: ExecutionMode) -> Support:
        """Trap a call in a process of its own; for T2 also rewrite text in memory."""
        return probe(self._launcher, *_OPTIONS[mode], "--probe")

    def prepare(self, container: Container, mode: ExecutionMode) -> None:
        """Nothing: the container's files are used as they are."""

    def restore(self, container: Container, mode: ExecutionMode) -> None:
        """Nothing was changed."""

    def plan(self, container: Container, process: Process, mode: ExecutionMode) -> Launch:
        """The launcher's command line; its environment is the program's, which it passes on as it is."""
        asked = (*_OPTIONS[mode], *translator_options(container, process, self.without))
        return Launch((self._launcher(), *asked, "--", *process.argv), process.env, "/")

    def join(self, run: Launch, joining: Joining) -> Launch:
        """The same launch with another program: a container is what the engine shows, and no more."""
        return again(run, joining)

    def _launcher(self) -> str:
        return os.fspath(self.program) if self.program else locate(PROGRAM, installed=self.installed)
