"""The processes of this node, as /proc tells of them (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from udocker.system.process import ProcessIdentity
from udocker.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from typing import Optional


@dataclass(frozen=True)
class Process:
    """One process at one moment: when it began, since boot, and what it has used of CPU, in clock ticks."""

    pid: int
    parent: int
    start: int
    state: str
    terminal: int
    ticks: int
    uid: int
    name: str

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended: a zombie has."""
        return self.state not in "ZX"


def processes() -> dict[int, Process]:
    """All that can be seen, by number."""
    found = (_read(name) for name in os.listdir("/proc") if name.isdecimal())
    return {process.pid: process for process in found if process is not None}


def family_of(pids: Collection[int]) -> list[Process]:
    """These processes and all that descend from them, as far as they live; parents come first."""
    table = processes()
    children: dict[int, list[Process]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    found: dict[int, Process] = {}
    waiting = [table[pid] for pid in pids if pid in table]
    while waiting:
        process = waiting.pop(0)
        if process.pid not in found:
            found[process.pid] = process
            waiting += children.get(process.pid, [])
    return [process for process in found.values() if process.is_alive]


def command_of(process: Process) -> str:
    """Its command line in one line; its name in brackets where it has none."""
    try:
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            words = file.read().rstrip(b"\0").split(b"\0")
    except OSError:
        words = []
    return os.fsdecode(b" ".join(words)) or f"[{process.name}]"


def kill(process: ProcessIdentity, number: int) -> bool:
    """Send a signal to a process unless it has ended; whether it was sent.  Raises PermissionError."""
    if process.is_dead() is not False:
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False  # it ended just now, which is as good
    return True


def kill_all(family: Iterable[Process], number: int) -> None:
    """The same for what ``family_of`` found; those that are not this user's to signal are passed over."""
    for process in family:
        current = _read(str(process.pid))
        if current is None or current.start != process.start or not current.is_alive:
            continue
        try:
            os.kill(process.pid, number)
        except (ProcessLookupError, PermissionError):
            continue  # ended just now; a set-user-ID program, which only root could end


def _read(name: str) -> Optional[Process]:
    try:
        with open(f"/proc/{name}/stat", "rb") as file:
            stat = file.read()
            uid = os.fstat(file.fileno()).st_uid
    except OSError:
        return None  # ended meanwhile, or hidden
    # The command's name is in parentheses and may hold anything, so count from the last one.
    end = stat.rindex(b")")
    fields = stat[end + 2 :].split()
    return Process(
        pid=int(name),
        parent=int(fields[1]),
        start=int(fields[19]),
        state=fields[0].decode("ascii"),
        terminal=int(fields[4]),
        ticks=int(fields[11]) + int(fields[12]),
        uid=uid,
        name=os.fsdecode(stat[stat.index(b"(") + 1 : end]),
    )
