"""The processes below this one and their memory, as psutil tells of them.

The sampler's thread imports this beside the program: psutil takes longer to import than a short task takes.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import psutil

from ..identity import descendants


@dataclass(frozen=True)
class _Seen:
    """A process in a sample; ``unwaited`` says that its parent ignores SIGCHLD."""

    user: float
    system: float
    unwaited: bool


class Family:
    """All descendants of this process, sample by sample; ``peak`` is their largest memory in bytes."""

    def __init__(self) -> None:
        self.peak = 0
        self._seen: dict[psutil.Process, _Seen] = {}
        self._gone: list[tuple[int, _Seen]] = []

    def sample(self) -> None:
        """Look at every descendant once."""
        seen: dict[psutil.Process, _Seen] = {}
        deaf: dict[int, bool] = {os.getpid(): False}
        memory = 0
        for pid in descendants(os.getpid()):
            try:
                process = psutil.Process(pid)
                with process.oneshot():
                    parent, times = process.ppid(), process.cpu_times()
                    resident = process.memory_info().rss
            except psutil.Error:
                continue  # it ended since it was listed, or is another user's and cannot be read
            if parent not in deaf:
                deaf[parent] = _ignores_children(parent)
            memory += resident
            user, system = times.user + times.children_user, times.system + times.children_system
            seen[process] = _Seen(user, system, deaf[parent])
        self.peak = max(self.peak, memory)
        for process, last in self._seen.items():
            if last.unwaited and process not in seen:
                self._miss(process, last, seen)
        self._seen = seen

    def lost(self, reaped: frozenset[int]) -> tuple[float, float]:
        """Seconds of user and system time of those that the kernel reaped, and so nobody counted."""
        gone = [*self._gone, *((process.pid, seen) for process, seen in self._seen.items())]
        lost = [seen for pid, seen in gone if seen.unwaited and pid not in reaped]
        return sum(seen.user for seen in lost), sum(seen.system for seen in lost)

    def _miss(self, process: psutil.Process, last: _Seen, seen: dict[psutil.Process, _Seen]) -> None:
        if process.is_running():
            seen[process] = last  # only this sample did not find it
        else:
            self._gone.append((process.pid, last))


def _ignores_children(pid: int) -> bool:
    """Whether ``pid`` has SIGCHLD in its set of ignored signals (SigIgn of proc(5)'s status)."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as status:
            masks = [line.split()[1] for line in status if line.startswith("SigIgn:")]
    except OSError:
        return False  # it has ended; its children are adopted and will be reaped
    return bool(masks) and bool(int(masks[0], 16) >> (signal.SIGCHLD - 1) & 1)
