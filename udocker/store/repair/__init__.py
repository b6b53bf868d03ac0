"""Finds and mends what crashes of this and of older udockers have left in a store.

Nothing is removed because it looks old to this node alone: a maker is dead where that can be proved (see
``udocker/store/nodes.py`` and ``lock.py``), or where the user says that nothing else runs.  Files of udocker
1.3, which tells nothing of itself, are taken for abandoned when they have not changed for an hour by the
clock of their own file system.  Everything is looked at again, under its lock, right before it is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from udocker.errors import StoreError, from_os_error
from udocker.store.nodes import record_node
from udocker.store.repair.blobs import check_blobs
from udocker.store.repair.containers import check_containers, check_names
from udocker.store.repair.finding import Finding, Inspection, Trouble
from udocker.store.repair.images import check_images
from udocker.store.repair.leftovers import check_claims, check_locks, check_tmp, forget_nodes
from udocker.store.repair.runs import check_runs
from udocker.store.store import Store
from udocker.system.files import is_directory

__all__ = ["Finding", "repair"]

# In this order: what one mends, the next need not report.
_CHECKS = (
    check_tmp,
    check_locks,
    check_runs,
    check_names,
    check_containers,
    check_blobs,
    check_images,
    check_claims,
)


def repair(
    store: Store,
    nothing_runs: bool = False,
    dry_run: bool = False,
    has_note: Callable[[str], bool] = lambda container_id: False,
) -> Iterator[Finding]:
    """Look for damage, and mend what can be mended unless it is a ``dry_run``; yields what was found.

    ``nothing_runs`` is the user's word that no other udocker uses the store, on any node; ``has_note`` tells
    whether a program that the store knows nothing of runs in a container on this one.  Raises StoreError
    where the store itself cannot be read or written.
    """
    if not is_directory(store.paths.root):
        return
    try:
        if not dry_run:
            store.paths.create()
            record_node(store.paths)
        inspection = Inspection.begin(store, nothing_runs, dry_run, has_note)
        for check in _CHECKS:
            for trouble in check(inspection):
                yield from _settle(trouble, dry_run)
        if not dry_run:
            forget_nodes(inspection)
    except OSError as error:
        raise from_os_error("repair", error) from error


def _settle(trouble: Trouble, dry_run: bool) -> Iterator[Finding]:
    if trouble.mend is None:
        yield Finding(trouble.what, trouble.remedy, mended=False)
        return
    if dry_run:
        yield Finding(trouble.what, trouble.done, mended=True)
        return
    try:
        if trouble.mend():
            yield Finding(trouble.what, trouble.done, mended=True)
    except OSError as error:
        cause = error.strerror or str(error)
        yield Finding(
            f"{trouble.what} ({cause})", trouble.remedy or "ask its owner to remove it", mended=False
        )
    except StoreError as error:
        yield Finding(f"{trouble.what} ({error.message})", error.hint or trouble.remedy, mended=False)
