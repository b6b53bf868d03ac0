"""Engine R: user namespaces, through the native launcher udocker-userns."""

from __future__ import annotations

import os

from udocker.engine.base import Abilities, Joining, Launch, Process, Support
from udocker.engine.binaries import locate
from udocker.engine.launcher import again, detaching, options, probe
from udocker.model.container import Container
from udocker.model.mode import ExecutionMode
from udocker.values import TYPE_CHECKING, dataclass, replace

if TYPE_CHECKING:
    from typing import Optional

    from _typeshed import StrPath

PROGRAM = "udocker-userns"


@dataclass(frozen=True)
class UsernsEngine:
    """Runs at native speed, without changing the container.

    ``installed`` is where ``udocker install`` puts another launcher.  ``program`` replaces both, ``without``
    names system calls that the launcher must do without, as on older kernels: these are for tests.
    """

    program: Optional[StrPath] = None
    without: tuple[str, ...] = ()
    installed: Optional[StrPath] = None

    @property
    def abilities(self) -> Abilities:
        """A user namespace maps the caller to any number; the kernel in it is the host's."""
        return Abilities(other_users=True, kernel_release=False)

    def using(self, installed: str) -> UsernsEngine:
        """The same engine, with the launcher in a directory if there is one."""
        return replace(self, installed=installed)

    def doing_without(self, features: tuple[str, ...]) -> UsernsEngine:
        """The same engine, made to fall back."""
        return replace(self, without=features)

    def check(self, mode: ExecutionMode) -> Support:
        """Try the namespaces in a process of their own."""
        return probe(self._launcher, "--probe")

    def prepare(self, container: Container, mode: ExecutionMode) -> None:
        """Nothing: the container's files are used as they are."""

    def restore(self, container: Container, mode: ExecutionMode) -> None:
        """Nothing was changed."""

    def plan(self, container: Container, process: Process, mode: ExecutionMode) -> Launch:
        """The launcher's command line; its environment is the program's, which it passes on as it is."""
        asked = options(container.root, process, self.without)
        return Launch((self._launcher(), *asked, "--", *process.argv), process.env, "/")

    def join(self, run: Launch, joining: Joining) -> Launch:
        """Into the namespaces of the run's program, which have its root and its binds."""
        words = again(run, joining).argv
        kept = [word for name in ("--uid", "--gid", "--workdir") for word in _option(words, name)]
        process = f"{joining.pid}:{joining.start}"
        command = words[words.index("--") :]
        asked = ("--join", process, *detaching(joining), *kept)
        return Launch((self._launcher(), *asked, *command), joining.env, run.cwd)

    def _launcher(self) -> str:
        return os.fspath(self.program) if self.program else locate(PROGRAM, installed=self.installed)


def _option(words: tuple[str, ...], name: str) -> tuple[str, str]:
    return name, words[words.index(name) + 1]


def beside(argv: tuple[str, ...], pid: int, start: int) -> tuple[str, ...]:
    """A launch's command line, to run in the container of a like process where that has not ended.

    ``start`` is in clock ticks since boot.  Those of other engines share nothing, and stay as they are.
    """
    if os.path.basename(argv[0]) != PROGRAM:
        return argv
    return (argv[0], "--join", f"{pid}:{start}", *argv[1:])
