"""A copy of a container: its files, metadata and settings, under an id of its own."""

from __future__ import annotations

import os
import stat
import uuid
from pathlib import Path

from udocker.errors import NotFoundError
from udocker.model.container import Container
from udocker.store.containers import ContainerStore
from udocker.store.protection import PROTECT
from udocker.system.copy import copy_tree


def clone(containers: ContainerStore, source: Container, name: str = "") -> Container:
    """Copy a container; whoever writes in one of the two is not seen in the other.

    Names and protection are not copied.  Raises NotFoundError where the container is removed meanwhile,
    UsageError, and StoreError where ``name`` is taken.
    """

    def fill(directory: Path) -> None:
        _fill(directory, source)

    return containers.publish(str(uuid.uuid4()), fill, act="clone", name=name)


def _fill(directory: Path, source: Container) -> None:
    before = _identity(source)
    copy_tree(source.directory, directory, skip=(PROTECT,))
    # A removal begins by taking the directory out of its place: where it still is, nothing was missed.
    if _identity(source) != before:
        raise _removed(source)
    for path in (directory, directory / "ROOT"):
        # One that cannot be written, as in a store of the site's, could not be renamed into its place.
        path.chmod(path.stat().st_mode | stat.S_IRWXU)


def _identity(source: Container) -> tuple[int, int]:
    try:
        info = os.stat(source.directory)
    except FileNotFoundError:
        raise _removed(source) from None
    return info.st_dev, info.st_ino


def _removed(source: Container) -> NotFoundError:
    return NotFoundError(f"clone: {source.id}: was removed meanwhile", "see udocker ps")
