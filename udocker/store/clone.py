"""A copy of a container: its files, metadata and settings, under an id of its own."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from udocker.errors import NotFoundError
from udocker.model.container import Container
from udocker.store.containers import ContainerStore
from udocker.store.protection import PROTECT
from udocker.system.copy import copy_tree


def clone(containers: ContainerStore, source: Container) -> Container:
    """Copy a container; whoever writes in one of the two is not seen in the other.

    Names and protection are not copied.  Raises NotFoundError where the container is removed meanwhile,
    StoreError.
    """
    return containers.publish(str(uuid.uuid4()), lambda directory: _fill(directory, source), act="clone")


def _fill(directory: Path, source: Container) -> None:
    before = _identity(source)
    copy_tree(source.directory, directory, skip=(PROTECT,))
    # A removal begins by taking the directory out of its place: where it still is, nothing was missed.
    if _identity(source) != before:
        raise _removed(source)


def _identity(source: Container) -> tuple[int, int]:
    try:
        info = os.stat(source.directory)
    except FileNotFoundError:
        raise _removed(source) from None
    return info.st_dev, info.st_ino


def _removed(source: Container) -> NotFoundError:
    return NotFoundError(f"clone: {source.id}: was removed meanwhile", "see udocker ps")
