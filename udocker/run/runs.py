"""The programs that run in containers now, or did, wherever they are written down."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Callable, Optional

from udocker.errors import NotFoundError, StoreError
from udocker.model.runrecord import EXEC, RUN, TASK, RunRecord
from udocker.run.notes import noted
from udocker.store.runs import KeptRun, RunState
from udocker.store.store import Store
from udocker.system.process import ProcessIdentity
from udocker.system.processes import Process, family_of, kill, kill_all
from udocker.values import dataclass

_TICK = 0.02
# Seconds for what was killed to be gone, and for who waits for a run to settle it.
_PATIENCE = 10.0


@dataclass(frozen=True)
class LiveRun:
    """A run of a container that is alive on this node; ``kept`` where somebody waits for it."""

    record: RunRecord
    kept: Optional[KeptRun] = None

    @property
    def program(self) -> ProcessIdentity:
        """The container's program, or who is about to start it."""
        return self.record.program or self.record.keeper

    @property
    def is_program_alive(self) -> bool:
        """Whether the program has started, as far as is written down, and has not ended."""
        return self.record.program is not None and self.record.program.is_dead() is False

    @property
    def is_alive(self) -> bool:
        """Whether the program, or who waits for it, has not ended."""
        waited = self.kept is not None and self.record.keeper.is_dead() is False
        return waited or self.program.is_dead() is False


@dataclass(frozen=True)
class ContainerRuns:
    """All that is known of the runs of one container, the newest first.

    ``joined`` are programs that were brought in by ``udocker exec``; ``tasks`` are a batch system's, which
    ends them; ``kept`` are those runs that somebody waits or waited for, alive or not.
    """

    directory: str
    live: tuple[LiveRun, ...]
    joined: tuple[LiveRun, ...]
    kept: tuple[KeptRun, ...]
    tasks: tuple[LiveRun, ...] = ()

    @classmethod
    def of(cls, store: Store, directory: str) -> ContainerRuns:
        """Look at this node and at the store."""
        container_id = directory.rpartition("/")[2]
        kept = tuple(store.runs.of(container_id))
        here = [record for record in noted(container_id) if record.directory == directory]
        found = [LiveRun(run.record, run) for run in kept if run.is_alive]
        found += [LiveRun(record) for record in here if record.kind == RUN]
        found.sort(key=lambda run: -run.record.began)
        joined = tuple(LiveRun(record) for record in here if record.kind == EXEC)
        tasks = tuple(LiveRun(record) for record in here if record.kind == TASK)
        return cls(directory, tuple(found), joined, kept, tasks)

    @property
    def elsewhere(self) -> Optional[KeptRun]:
        """A run that another node has written down, and not settled."""
        return next((run for run in self.kept if run.state is RunState.ELSEWHERE), None)

    @property
    def over(self) -> Optional[KeptRun]:
        """The newest run that is over and whose end is not cleared away yet."""
        ended = (RunState.ENDED, RunState.KILLED)
        return next((run for run in self.kept if run.state in ended and not run.record.remove), None)

    @property
    def is_in_use(self) -> bool:
        """Whether something runs in it, here or as far as this node knows."""
        return bool(self.live or self.joined or self.tasks or self.elsewhere)

    def in_words(self) -> str:
        """What runs in the container, or has run; empty where nothing is known."""
        here = (*self.live, *self.joined, *self.tasks)
        if here:
            oldest = min(run.record.began for run in here)
            more = f" ({len(here)} programs)" if len(here) > 1 else ""
            lost = ", who waited for it was killed" if any(map(_is_orphan, self.live)) else ""
            return f"running for {_duration(time.time() - oldest)}{more}{lost}"
        if self.elsewhere is not None:
            return f"running on {self.elsewhere.record.keeper.host}"
        if self.over is None:
            return ""
        record = self.over.record
        status = "unknown, who waited for it was killed" if record.status is None else record.status
        ago = f" {_duration(time.time() - record.ended)} ago" if record.ended else ""
        return f"ended{ago} ({status})"

    def newest(self, act: str, name: str) -> LiveRun:
        """The run that was started last; raises StoreError where none is alive on this node."""
        if self.live:
            return self.live[0]
        raise not_running(act, name, self)

    def family(self) -> list[Process]:
        """Every process of the runs, and of what has joined them."""
        found = family_of([run.program.pid for run in (*self.live, *self.joined)])
        keepers = [run.record.keeper.pid for run in self.live if run.kept and not _is_orphan(run)]
        others = [process for process in family_of(keepers) if process.pid not in keepers]
        return [*found, *(process for process in others if process not in found)]


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} seconds"


def _is_orphan(run: LiveRun) -> bool:
    return run.kept is not None and run.kept.state is RunState.ORPHANED


def all_runs(store: Store) -> dict[str, ContainerRuns]:
    """The runs of every container of a store that there are any of, by the container's directory."""
    found = {record.directory for record in noted() if store.containers.lists(record.directory)}
    for container_id in store.runs.containers():
        found.update(run.record.directory for run in store.runs.of(container_id))
    return {directory: ContainerRuns.of(store, directory) for directory in sorted(found)}


def directory_of(store: Store, name: str, act: str) -> str:
    """The directory of a container, whole or not; raises NotFoundError."""
    try:
        return str(store.containers.directory(name))
    except NotFoundError as error:
        raise NotFoundError(f"{act}: {error.message}", error.hint) from None


def not_running(act: str, name: str, runs: ContainerRuns) -> StoreError:
    """The error for a container in which nothing runs here."""
    other = runs.elsewhere
    if other is not None:
        host = other.record.keeper.host
        return StoreError(f"{act}: {name}: runs on {host}, as far as this node knows", f"udocker {act} there")
    if runs.tasks:
        return StoreError(
            f"{act}: {name}: only tasks of jobs run in it", "udocker-batch cancel JOBID ends them"
        )
    return StoreError(f"{act}: {name}: not running on this node", "see udocker ps")


def stop(runs: ContainerRuns, number: int, seconds: float) -> None:
    """End all runs of a container: a signal to each program, and after some seconds SIGKILL to what is left.

    Raises PermissionError for another user's.
    """
    family = runs.family()
    for run in runs.live:
        kill(run.program, number)
    _wait(lambda: not any(run.program.is_dead() is False for run in runs.live), seconds)
    _settle(runs, family)


def kill_runs(runs: ContainerRuns, number: int) -> None:
    """Send a signal to the programs of a container; SIGKILL ends all that they have started as well."""
    if number == signal.SIGKILL:
        stop(runs, number, 0.0)
        return
    for run in runs.live:
        kill(run.program, number)


def _settle(runs: ContainerRuns, family: Iterable[Process]) -> None:
    """Kill what the ended programs have left, and let those who wait for them note the end."""
    kill_all([*family, *runs.family()], signal.SIGKILL)
    _wait(lambda: not any(run.is_alive for run in (*runs.live, *runs.joined)), _PATIENCE)


def wait_for_end(store: Store, runs: ContainerRuns) -> Optional[int]:
    """Wait until no run of the container is alive; the exit status of the newest that was waited for.

    None where nobody was told it.
    """
    newest = next((run for run in runs.live if run.kept is not None), None)
    path = newest.kept.path if newest is not None and newest.kept is not None else None
    known: Optional[int] = None
    while any(run.is_alive for run in runs.live):
        # The store, which many nodes may share, is asked only when it may have something to tell.
        if newest is not None and not newest.is_program_alive:
            known = _status(store, runs, path, known)
        time.sleep(_TICK)
    if newest is None and runs.live:
        return None
    return _status(store, runs, path, known)


def _status(store: Store, runs: ContainerRuns, path: Optional[Path], known: Optional[int]) -> Optional[int]:
    """What is written down of a run's end; a run with --rm has it until its container is gone."""
    over = ContainerRuns.of(store, runs.directory).kept
    found = next((run.record.status for run in over if path in (None, run.path)), None)
    return known if found is None else found


def _wait(is_over: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not is_over() and time.monotonic() < until:
        time.sleep(_TICK)
