"""What a repair finds, and what it knows about the living."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from udocker.store.claims import claims
from udocker.store.nodes import Nodes
from udocker.store.runs import RunState
from udocker.store.store import Store
from udocker.system.files import unique_name

# Seconds without a change after which files of an udocker that tells nothing of itself count as abandoned:
# it writes all the time while it fetches and unpacks.
_ABANDONED = 3600.0
UNSURE = "udocker repair --all, if nothing else uses the store"


@dataclass(frozen=True)
class Finding:
    """One thing that was found: ``mended`` tells whether ``what_now`` was done or is what to do."""

    what: str
    what_now: str
    mended: bool


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong: ``mend`` does what ``done`` says, ``remedy`` is a command for the user.

    ``mend`` looks again, and returns False where there is nothing to mend any more.  Without it the user has
    to decide.
    """

    what: str
    done: str = ""
    remedy: str = ""
    mend: Optional[Callable[[], bool]] = None


@dataclass(frozen=True)
class Inspection:
    """One run over a store; ``now`` is the time by the clock of its file system.

    ``has_note`` tells whether a program that the store knows nothing of runs in a container on this node.
    """

    store: Store
    nodes: Nodes
    nothing_runs: bool
    dry_run: bool
    now: float
    has_note: Callable[[str], bool]

    @classmethod
    def begin(
        cls, store: Store, nothing_runs: bool, dry_run: bool, has_note: Callable[[str], bool]
    ) -> Inspection:
        """Read the clock and who is known; raises OSError."""
        now = time.time() if dry_run else _clock(store.paths.scratch)
        return cls(store, Nodes(store.paths), nothing_runs, dry_run, now, has_note)

    def is_used(self, container_id: str) -> bool:
        """Whether something runs in a container, as far as this node knows."""
        live = (RunState.RUNNING, RunState.ORPHANED, *(() if self.nothing_runs else (RunState.ELSEWHERE,)))
        return self.has_note(container_id) or any(
            run.state in live for run in self.store.runs.of(container_id)
        )

    def is_dead(self, mark: str) -> Optional[bool]:
        """Whether the process of a mark is dead; None where nobody knows and the user has not said so."""
        fate = self.nodes.fate(mark)
        return True if fate is None and self.nothing_runs else fate

    def is_abandoned(self, *paths: Path) -> bool:
        """Whether nobody changes these files of udocker 1.3 any more."""
        if self.nothing_runs:
            return True
        times = [os.lstat(path).st_mtime for path in paths if os.path.lexists(path)]
        return all(time < self.now - _ABANDONED for time in times)

    def claimed(self) -> set[str]:
        """The blobs that those need who are not known to be dead."""
        needed = [claim for claim in claims(self.store.paths) if claim.keeps]
        return {digest for claim in needed if not self.is_dead(claim.maker) for digest in claim.digests}

    def maker(self, mark: str) -> str:
        """A process in words."""
        host = self.nodes.host(mark)
        return f"a process of {host}" if host else "a process of another node"


def _clock(directory: Path) -> float:
    """The time that the server of a file system gives to a new file: other nodes' clocks may differ."""
    probe = directory / unique_name("clock-")
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()
