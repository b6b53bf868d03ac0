"""Who a process is for good, and what the kernel says of it."""

from __future__ import annotations

import os

from udocker.api import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from typing import Any, Optional


@dataclass(frozen=True)
class Identity:
    """A process, told from any later one with the same number.

    ``boot`` is the kernel's random id of this boot, ``start`` the process's start in clock ticks since
    then (field 22 of proc(5)'s stat).
    """

    host: str
    boot: str
    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Identity:
        """The process ``pid`` of this host; raises ProcessLookupError."""
        found = Stat.of(pid)
        if found is None:
            raise ProcessLookupError(f"no process {pid}")
        return cls(os.uname().nodename, boot_id(), pid, found.start)

    @classmethod
    def from_mapping(cls, document: Any) -> Identity:
        """Read ``to_mapping``'s form; raises ValueError."""
        try:
            return cls(
                str(document["host"]), str(document["boot"]), int(document["pid"]), int(document["start"])
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a process identity: {error}") from None

    def to_mapping(self) -> dict[str, Any]:
        """A JSON object."""
        return dict(vars(self))

    @property
    def is_here(self) -> bool:
        """Whether this host can tell about the process."""
        return self.host == os.uname().nodename

    def is_alive(self) -> bool:
        """Whether the process still runs (a zombie does not); only meaningful where ``is_here``."""
        if self.boot != boot_id():
            return False
        found = Stat.of(self.pid)
        return found is not None and found.start == self.start and not found.has_ended

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.is_here and self.is_alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass  # it ended just now, which is as good


@dataclass(frozen=True)
class Stat:
    """What proc(5)'s stat says of a process: ``start`` in clock ticks since boot."""

    state: str
    parent: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Optional[Stat]:
        """That of a process of this node; None where there is none, or it is hidden."""
        try:
            text = _read(f"/proc/{pid}/stat")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None
        # The name, in parentheses, may hold any byte, parentheses too.
        fields = text.rpartition(b")")[2].split()
        return cls(fields[0].decode("ascii"), int(fields[1]), int(fields[19]))

    @property
    def has_ended(self) -> bool:
        """Whether it is a zombie."""
        return self.state in "ZX"


def boot_id() -> str:
    """The random id that the kernel made at boot."""
    return _read("/proc/sys/kernel/random/boot_id").decode("ascii").strip()


def all_pids() -> list[int]:
    """Every process of this node that is not hidden."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(pid: int) -> list[int]:
    """Every process below one, from the kernel's lists of children where it has them.

    The lists (proc(5), CONFIG_PROC_CHILDREN) may skip a process while others exit, and cost by the size of
    the family; without them the whole process table is read.
    """
    if not os.path.exists("/proc/thread-self/children"):
        return _below(pid)
    pids = [pid]
    for one in pids:
        pids.extend(_children(one))
    return pids[1:]


def _below(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for one in all_pids():
        found = Stat.of(one)
        if found is not None:
            children.setdefault(found.parent, []).append(one)
    pids = [pid]
    for one in pids:
        pids.extend(children.get(one, ()))
    return pids[1:]


def _children(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            children.extend(map(int, _read(f"/proc/{pid}/task/{thread}/children").split()))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it ended meanwhile: its children have another parent, where the next look finds them
    return children


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
