"""What every execution engine offers."""

from __future__ import annotations

from collections.abc import Mapping

from udocker.model.container import Container
from udocker.model.mode import ExecutionMode
from udocker.model.mount import Mount
from udocker.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from typing import Optional, Protocol

    from udocker.model.port import PublishedPort
    from udocker.system.emulators import Emulator
else:
    Protocol = object


@dataclass(frozen=True)
class Identity:
    """The user and group that the program sees, and the user's home directory there."""

    uid: int
    gid: int
    home: str = "/"
    name: str = ""


@dataclass(frozen=True)
class ExtendedFile:
    """What the program sees at ``target``: the container's file there, and after it ``text``.

    It is a copy that only such runs see, with the permissions of the container's file; with ``source`` it
    is one of that file of the host.
    """

    target: str
    text: str
    source: str = ""


@dataclass(frozen=True)
class Process:
    """A run in full, nothing left to the image or to defaults: what an engine starts.

    ``argv[0]`` is looked up in ``env``'s PATH inside the container when it has no slash; ``workdir``
    is a path in the container.  ``volumes`` are directories of the container that have to be there, and
    writable; ``scratch`` are empty ones that end with the run; ``mounts`` come after both, ``files`` last.
    With ``read_only`` the container's own files cannot be changed.  ``kernel`` is the release that uname(2)
    answers there, empty for the host's own.  ``ports`` are those that the host has under other numbers.
    ``emulator`` runs programs of the image's machine.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str
    identity: Identity
    mounts: tuple[Mount, ...]
    volumes: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    files: tuple[ExtendedFile, ...] = ()
    read_only: bool = False
    kernel: str = ""
    ports: tuple[PublishedPort, ...] = ()
    emulator: Optional[Emulator] = None


@dataclass(frozen=True)
class Launch:
    """A program of the host to execute: it becomes the container's program."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str


@dataclass(frozen=True)
class Joining:
    """A program that joins a run: ``pid`` is the run's program, which has begun at ``start``.

    ``start`` is in clock ticks since boot (proc(5), /proc/[pid]/stat, field 22).  ``workdir`` is empty, and
    ``identity`` None, for the run's own.  Where it is ``detached`` the program's standard error is what its
    standard output is, and the launcher's own, for its failures, ends when the program starts.
    """

    pid: int
    start: int
    argv: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str = ""
    identity: Optional[Identity] = None
    detached: bool = False


@dataclass(frozen=True)
class Support:
    """Whether an engine works on this host; ``reason`` and ``hint`` say why it does not."""

    available: bool
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Abilities:
    """What an engine can do that not every engine can.

    ``other_users``: the program can be another user than the caller.  ``kernel_release``: uname(2) can answer
    another release than the host's.  ``emulates_users``: other users, root too, cost time, and the caller
    himself does not.  ``ports``: the host can have the container's ports under other numbers.  ``emulators``:
    programs of another machine are run by a program of the host.
    """

    other_users: bool
    kernel_release: bool
    emulates_users: bool = False
    ports: bool = False
    emulators: bool = False


class Engine(Protocol):
    """An execution engine.  ``plan`` is pure; ``prepare`` and ``restore`` change the container."""

    @property
    def abilities(self) -> Abilities:
        """What it can do, for those who plan a run."""
        ...

    def using(self, installed: str) -> Engine:
        """The same engine, with the programs in a directory in place of the package's."""
        ...

    def doing_without(self, features: tuple[str, ...]) -> Engine:
        """The same engine, which does without features of the kernel, as where it lacks or forbids them."""
        ...

    def check(self, mode: ExecutionMode) -> Support:
        """Probe this host: whether it allows the mode, one of this engine's."""
        ...

    def prepare(self, container: Container, mode: ExecutionMode) -> None:
        """Change the container's files as ``mode`` needs; doing it twice is harmless."""
        ...

    def restore(self, container: Container, mode: ExecutionMode) -> None:
        """Undo ``prepare``."""
        ...

    def plan(self, container: Container, process: Process, mode: ExecutionMode) -> Launch:
        """The launch that runs ``process`` in ``container``."""
        ...

    def join(self, run: Launch, joining: Joining) -> Launch:
        """The launch that brings a program into a run that was launched so; pure as ``plan``."""
        ...
