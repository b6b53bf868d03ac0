"""Engine P: a tracer stops system calls that take paths; they are translated in the program's processes.

The native launcher is engine T's, with a tracer in place of a signal: it starts the tracer and becomes the
program.  It takes nothing from the program but that nobody else can trace it, and is no security boundary.
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

# What a mode asks of the launcher to be tried, and beside that to run.  Where text may not be rewritten in
# memory, the launcher does without.
_TRACERS = {ExecutionMode.P1: ("--trace",), ExecutionMode.P2: ("--trace-all",)}
_MORE = {ExecutionMode.P1: ("--patch",), ExecutionMode.P2: ()}


@dataclass(frozen=True)
class PtraceEngine:
    """In P1 a filter of the kernel chooses the calls that stop; P2 stops at every call, and needs no filter.

    ``installed``, ``program`` and ``without`` are as in engine R.
    """

    program: Optional[StrPath] = None
    without: tuple[str, ...] = ()
    installed: Optional[StrPath] = None

    @property
    def abilities(self) -> Abilities:
        """As engine T's."""
        return Abilities(
            other_users=True, kernel_release=True, emulates_users=True, ports=True, emulators=True
        )

    def using(self, installed: str) -> PtraceEngine:
        """The same engine, with the launcher in a directory if there is one."""
        return replace(self, installed=installed)

    def doing_without(self, features: tuple[str, ...]) -> PtraceEngine:
        """The same engine, made to fall back."""
        return replace(self, without=features)

    def check(self, mode: ExecutionMode) -> Support:
        """Trace a process of its own, and let it make a call."""
        return probe(self._launcher, *_TRACERS[mode], "--probe")

    def prepare(self, container: Container, mode: ExecutionMode) -> None:
        """Nothing: the container's files are used as they are."""

    def restore(self, container: Container, mode: ExecutionMode) -> None:
        """Nothing was changed."""

    def plan(self, container: Container, process: Process, mode: ExecutionMode) -> Launch:
        """The launcher's command line; its environment is the program's, which it passes on as it is."""
        asked = (*_TRACERS[mode], *_MORE[mode], *translator_options(container, process, self.without))
        return Launch((self._launcher(), *asked, "--", *process.argv), process.env, "/")

    def join(self, run: Launch, joining: Joining) -> Launch:
        """The same launch with another program, under a tracer of its own."""
        return again(run, joining)

    def _launcher(self) -> str:
        return os.fspath(self.program) if self.program else locate(PROGRAM, installed=self.installed)
