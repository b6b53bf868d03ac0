"""Ranks of one step on one node: children of one process, of which the first makes the container for all."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping

from udocker.api import TYPE_CHECKING, dataclass

from .identity import Stat, all_pids, descendants

if TYPE_CHECKING:
    from typing import Optional

# What two ranks of a step have in common, and how the first on its node is told (srun(1)).
_STEP = ("SLURM_JOB_ID", "SLURM_STEP_ID")
_RANK_ON_NODE, _FIRST = "SLURM_LOCALID", "0"
_PAUSE = 0.01
# Seconds for a process that was forked to become a rank.
_STARTING = 2.0


@dataclass(frozen=True)
class Leader:
    """The first rank on this node, told from any other process by when it ``start``ed, in clock ticks.

    Where ranks are accounted, that is a parent outside the container, whose first child runs in it.
    """

    pid: int
    start: int

    def is_there(self) -> bool:
        """Whether it has not ended."""
        found = Stat.of(self.pid)
        return found is not None and found.start == self.start and not found.has_ended

    def inside(self, launcher: str) -> Optional[Leader]:
        """Itself or its child, once the container of that is whole: it has namespaces of its own, and is the
        launcher no more."""
        return next((one for one in (self, *self._child()) if one._is_in(launcher)), None)

    def _child(self) -> Iterator[Leader]:
        for pid in descendants(self.pid)[:1]:
            found = Stat.of(pid)
            if found is not None and found.parent == self.pid:
                yield Leader(pid, found.start)

    def _is_in(self, launcher: str) -> bool:
        try:
            own = os.stat("/proc/self/ns/mnt")
            other = os.stat(f"/proc/{self.pid}/ns/mnt")
            program = os.stat(f"/proc/{self.pid}/exe")
            return not os.path.samestat(own, other) and not os.path.samestat(program, os.stat(launcher))
        except OSError:
            return False  # it has ended, as is_there tells


def leader_of(environ: Mapping[str, str], launcher: str, patience: float) -> Optional[Leader]:
    """The first rank on this node once its container is whole.

    None for that rank itself, where there is none, and where it has ended or is not ready after ``patience``
    seconds.
    """
    if environ.get(_RANK_ON_NODE, _FIRST) == _FIRST or not all(environ.get(name) for name in _STEP):
        return None
    begun = time.monotonic()
    leader: Optional[Leader] = None
    while time.monotonic() - begun < patience:
        if leader is None:
            leader, unknown = _find(environ)
            if leader is None and not (unknown and time.monotonic() - begun < _STARTING):
                return None
        else:
            inside = leader.inside(launcher)
            if inside is not None or not leader.is_there():
                return inside
        time.sleep(_PAUSE)
    return None


def _find(environ: Mapping[str, str]) -> tuple[Optional[Leader], bool]:
    """The first rank, and whether there are siblings that do not tell yet which they are.

    All are forked before one of them begins, so that a first one that is missing has ended.
    """
    wanted = {name: environ[name] for name in _STEP}
    wanted[_RANK_ON_NODE] = _FIRST
    marks = {f"{name}={value}".encode() for name, value in wanted.items()}
    unknown = False
    for pid in all_pids():
        found = Stat.of(pid)
        if found is None or found.has_ended or found.parent != os.getppid():
            continue
        told = _environ(pid)
        if marks <= told:
            return Leader(pid, found.start), False
        unknown = unknown or not any(word.startswith(f"{_RANK_ON_NODE}=".encode()) for word in told)
    return None, unknown


def _environ(pid: int) -> set[bytes]:
    """What a process was given when it began; nothing where that cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as variables:
            return set(variables.read().split(b"\0"))
    except OSError:
        return set()
