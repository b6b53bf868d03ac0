"""Records of runs whose keeper was killed, or whose container is gone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from udocker.errors import NotFoundError
from udocker.store.repair.finding import UNSURE, Inspection, Trouble
from udocker.store.runs import KeptRun, RunState
from udocker.system.files import discard_leftovers, maker_of


def check_runs(inspection: Inspection) -> Iterator[Trouble]:
    """Runs that nobody will settle any more."""
    runs = inspection.store.runs
    for container_id in runs.containers():
        for run in runs.of(container_id):
            yield from _check(inspection, run)
        yield from _check_directory(inspection, container_id)


def _check_directory(inspection: Inspection, container_id: str) -> Iterator[Trouble]:
    """The place of records that a process was killed before it could write."""
    directory = inspection.store.paths.runs / container_id
    try:
        makers = [maker_of(name) for name in os.listdir(directory)]
    except FileNotFoundError:
        return  # it went with its last record
    if all(maker and inspection.is_dead(maker) for maker in makers):
        what = f"runs/{container_id}: unfinished, its maker is dead"
        yield Trouble(what, "removed", f"rm -r {directory}", partial(_discard, directory))


def _discard(directory: Path) -> bool:
    discard_leftovers(directory)
    try:
        directory.rmdir()
    except OSError:
        return False  # somebody has begun a run of it
    return True


def _check(inspection: Inspection, run: KeptRun) -> Iterator[Trouble]:
    record, what = run.record, f"container {run.record.container}: "
    if run.state is RunState.ORPHANED:
        yield Trouble(
            f"{what}its program {run.record.command[0]!r} runs, and who waited for it was killed",
            remedy=f"udocker stop {record.container}, and repair again",
        )
    elif run.state is RunState.ELSEWHERE and not inspection.nothing_runs:
        host = record.keeper.host
        if host != os.uname().nodename:
            return  # that node knows
        yield Trouble(f"{what}a run of this host that may be alive", remedy=UNSURE)
    elif run.state is RunState.ENDED and record.remove:
        yield from _left(inspection, run, what)
    elif run.state is RunState.KILLED or run.state is RunState.ELSEWHERE:
        yield from _over(inspection, run, what)


def _left(inspection: Inspection, run: KeptRun, what: str) -> Iterator[Trouble]:
    """What a run with --rm has left to others that ran then: those without a keeper cannot remove it."""
    if inspection.is_used(run.record.container):
        return
    yield Trouble(
        f"{what}a run with --rm has left it to others, which have ended",
        "removed",
        f"udocker rm {run.record.container}",
        partial(_remove, inspection, run),
    )


def _over(inspection: Inspection, run: KeptRun, what: str) -> Iterator[Trouble]:
    record = run.record
    if not os.path.lexists(record.directory):
        yield Trouble(
            f"{what}was removed, and its run was killed",
            "forgotten",
            f"rm {run.path}",
            partial(_forget, inspection, run),
        )
    elif record.remove:
        yield Trouble(
            f"{what}who ran it with --rm was killed",
            "removed",
            f"udocker rm {record.container}",
            partial(_remove, inspection, run),
        )
    elif not record.ended:
        yield Trouble(
            f"{what}who waited for its run was killed",
            "noted as ended",
            f"rm {run.path}",
            partial(_settle, inspection, run),
        )


def _is_over(inspection: Inspection, run: KeptRun) -> bool:
    """Whether it still is as it was found; somebody may have removed it, and run the container anew."""
    now = inspection.store.runs.of(run.record.container)
    return any(other.path == run.path and other.state is run.state for other in now)


def _forget(inspection: Inspection, run: KeptRun) -> bool:
    if not _is_over(inspection, run):
        return False
    inspection.store.runs.forget(run)
    return True


def _settle(inspection: Inspection, run: KeptRun) -> bool:
    if not _is_over(inspection, run):
        return False
    inspection.store.runs.settle(run, time.time())
    return True


def _remove(inspection: Inspection, run: KeptRun) -> bool:
    """The container goes as its run would have had it, but for one that somebody runs again."""
    if not _is_over(inspection, run) or inspection.is_used(run.record.container):
        return False
    try:
        inspection.store.containers.remove(run.record.directory)
    except NotFoundError:
        return _forget(inspection, run)
    return True
