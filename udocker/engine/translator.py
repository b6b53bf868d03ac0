"""What engines T and P have in common: one native launcher, which stays in the program's own processes.

It translates the paths of system calls there; the modes differ in how the calls come to it.
"""

from __future__ import annotations

import os

from udocker.engine.base import Abilities, Joining, Launch, Process, Support
from udocker.engine.binaries import locate
from udocker.engine.launcher import again, detaching, options, probe
from udocker.model.container import Container
from udocker.model.mode import ExecutionMode
from udocker.values import TYPE_CHECKING, dataclass, replace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Optional

    from _typeshed import StrPath

TRANSLATOR = "udocker-trap"

# Beside a container's root: copies of its files with text after them, which all of its runs share.
FILES = "trap.files"


# The options with which a mode is tried, and those that a run has beside them.  Where text may not be
# rewritten in memory P1 does without; T2 is nothing else.
_ASKED: dict[ExecutionMode, tuple[tuple[str, ...], tuple[str, ...]]] = {
    ExecutionMode.T1: ((), ()),
    ExecutionMode.T2: (("--patch",), ()),
    ExecutionMode.P1: (("--trace",), ("--patch",)),
    ExecutionMode.P2: (("--trace-all",), ()),
}


@dataclass(frozen=True)
class Translator:
    """What engines T and P are; their modes differ in what is asked of the launcher.

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

    def using(self, installed: str) -> Translator:
        """The same engine, with the launcher in a directory if there is one."""
        return replace(self, installed=installed)

    def doing_without(self, features: tuple[str, ...]) -> Translator:
        """The same engine, made to fall back."""
        return replace(self, without=features)

    def check(self, mode: ExecutionMode) -> Support:
        """Bring a call of a process of its own to the engine, as the mode does."""
        tried, _ = _ASKED[mode]
        return probe(self._launcher, *tried, "--probe")

    def prepare(self, container: Container, mode: ExecutionMode) -> None:
        """Nothing: the container's files are used as they are."""

    def restore(self, container: Container, mode: ExecutionMode) -> None:
        """Nothing was changed."""

    def plan(self, container: Container, process: Process, mode: ExecutionMode) -> Launch:
        """The launcher's command line; its environment is the program's, which it passes on as it is."""
        tried, more = _ASKED[mode]
        asked = (*tried, *more, *_options(container, process, self.without))
        return Launch((self._launcher(), *asked, "--", *process.argv), process.env, "/")

    def join(self, run: Launch, joining: Joining) -> Launch:
        """The same launch with another program: a container is what the engine shows, and no more."""
        launcher, *words = again(run, joining).argv
        return Launch((launcher, "--exec", *detaching(joining), *words), joining.env, run.cwd)

    def _launcher(self) -> str:
        return os.fspath(self.program) if self.program else locate(TRANSLATOR, installed=self.installed)


def _options(container: Container, process: Process, without: Sequence[str]) -> Iterator[str]:
    """All that the launcher is asked for but what is special to a mode."""
    yield from options(container.root, process, without)
    if process.kernel:
        yield from ("--kernel", process.kernel)
    yield from _machine_options(process)
    if process.files and not container.location:
        yield from ("--files", os.path.join(container.directory, FILES))


def _machine_options(process: Process) -> Iterator[str]:
    if process.emulator is not None:
        yield from ("--emulator", f"{process.emulator.machine}:{process.emulator.path}")
    if process.ports:
        from udocker.engine.ports import encode  # few runs publish any

        yield from ("--ports", encode(process.ports))
