"""What is left in tmp/ and locks/ of processes that died."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Optional

from udocker.store.claims import claims
from udocker.store.lock import newest
from udocker.store.repair.finding import UNSURE, Inspection, Trouble
from udocker.system.files import maker_of, remove_tree

# What a job's task names its workspace: the key of its lock, and the generation that holds it.
_WORKSPACE = re.compile(r"(prepare-.+)-g(\d+)")


def check_tmp(inspection: Inspection) -> Iterator[Trouble]:
    """Unfinished work whose maker is dead, or may be."""
    paths = inspection.store.paths
    for path in (*_entries(paths.scratch), *_entries(paths.partial)):
        if path == paths.partial:
            continue
        mark, what = maker_of(path.name), f"{path.relative_to(paths.root)}: unfinished"
        dead = inspection.is_dead(mark) if mark else _is_workspace_of_dead(inspection, path)
        if dead:
            yield Trouble(f"{what}, its maker is dead", "removed", f"rm -r {path}", partial(_remove, path))
        elif dead is None:
            maker = inspection.maker(mark) if mark else "somebody"
            yield Trouble(f"{what}, of {maker} that may live", remedy=f"udocker repair there, or {UNSURE}")


def check_locks(inspection: Inspection) -> Iterator[Trouble]:
    """Locks whose holder is dead; those that ended as they should are part of the store."""
    paths = inspection.store.paths
    for path in _entries(paths.locks):
        if path in (paths.claims, paths.nodes) or not path.is_dir():
            continue
        if not _is_left(inspection, path):
            continue
        what = f"locks/{path.name}: " + ("its holder is dead" if newest(path) else "nobody holds it")
        yield Trouble(what, "removed", f"rm -r {path}", partial(_retire, inspection, path))


def check_claims(inspection: Inspection) -> Iterator[Trouble]:
    """Claims of blobs by dead processes, when the blobs have been dealt with."""
    for directory in (inspection.store.paths.claims, inspection.store.paths.nodes):
        for path in _entries(directory):
            if path.name.startswith(".") and inspection.is_dead(maker_of(path.name)):
                what = f"locks/{directory.name}/{path.name}: unfinished"
                yield Trouble(what, "removed", f"rm {path}", partial(_remove, path))
    for claim in claims(inspection.store.paths):
        dead = inspection.is_dead(claim.maker)
        what = f"locks/claims/{claim.path.name}: "
        if dead:
            yield Trouble(
                f"{what}a pull or removal that was cut short",
                "forgotten",
                f"rm {claim.path}",
                partial(_remove, claim.path),
            )
        elif dead is None:
            yield Trouble(
                f"{what}blobs for {inspection.maker(claim.maker)} that may live",
                remedy=f"udocker repair there, or {UNSURE}",
            )


def forget_nodes(inspection: Inspection) -> None:
    """Remove what tells of nodes that have been started again since, once nothing of theirs is left."""
    paths = inspection.store.paths
    entries = (*_entries(paths.scratch), *_entries(paths.partial))
    left = {maker_of(path.name).partition("-")[0] for path in entries}
    left |= {claim.maker.partition("-")[0] for claim in claims(paths)}
    left |= {path.name.partition("-")[0] for path in paths.runs.glob("*/*.json")}
    for path in _entries(paths.nodes):
        if path.name not in left and inspection.nodes.has_ended(path.name):
            path.unlink(missing_ok=True)


def _entries(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _is_workspace_of_dead(inspection: Inspection, path: Path) -> Optional[bool]:
    match = _WORKSPACE.fullmatch(path.name)
    if match is None:
        # Nobody of ours names anything so: somebody put it here.
        return True if inspection.nothing_runs else None
    lock, generation = inspection.store.lock(match[1]), int(match[2])
    if lock.newest() != generation or lock.outcome(generation) is not None:
        return True
    return not lock.is_held()


def _remove(path: Path) -> bool:
    there = os.path.lexists(path)
    remove_tree(path)
    return there


def _retire(inspection: Inspection, path: Path) -> bool:
    if not _is_left(inspection, path):
        return False
    with inspection.store.lock(path.name).passing():
        return True


def _is_left(inspection: Inspection, path: Path) -> bool:
    """Whether a lock has not been ended by its holder, and will not be."""
    lock, generation = inspection.store.lock(path.name), newest(path)
    if generation == 0:
        return path.is_dir() and inspection.is_abandoned(path)  # somebody may be about to take it
    if lock.outcome(generation) is not None:
        return False
    return (inspection.nothing_runs or not lock.is_held()) and newest(path) == generation
