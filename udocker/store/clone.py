"""A copy of a container: its files, metadata and settings, under an id of its own.

It is made of a container of the store, or of the archive that ``udocker export --clone`` makes of one, here
and in udocker 1.3: a tar of the container's whole directory.
"""

from __future__ import annotations

import os
import stat
import uuid
from pathlib import Path

from udocker.errors import NotFoundError, StoreCorrupt
from udocker.model.container import Container
from udocker.store.containers import ContainerStore
from udocker.store.limits import Limits
from udocker.store.protection import PROTECT
from udocker.store.unpack import unpack_layers
from udocker.store.verify import verify_container
from udocker.system.copy import copy_tree
from udocker.system.files import remove_tree

_NO_CLONE = "is the archive one of udocker export --clone?"


def clone(containers: ContainerStore, source: Container, name: str = "") -> Container:
    """Copy a container; whoever writes in one of the two is not seen in the other.

    Names and protection are not copied.  Raises NotFoundError where the container is removed meanwhile,
    UsageError, and StoreError where ``name`` is taken.
    """

    def fill(directory: Path) -> None:
        _fill(directory, source)

    return containers.publish(str(uuid.uuid4()), fill, act="clone", name=name)


def clone_archive(
    containers: ContainerStore, archive: Path, limits: Limits, name: str = "", container_id: str = ""
) -> Container:
    """Make a container of the archive of another one, compressed or not; the protection of that is not kept.

    Where one of the same ``container_id`` is there first, that one is returned.

    Raises StoreCorrupt for one that is no container, StoreError, UnpackError.
    """

    def fill(directory: Path) -> None:
        directory.mkdir(mode=0o700)
        unpack_layers([archive], directory, limits)
        remove_tree(directory / PROTECT)
        _check(directory)
        containers.settle(directory)

    return containers.publish(container_id or str(uuid.uuid4()), fill, act="import", name=name)


def _check(directory: Path) -> None:
    """Refuse what is no container, or one whose metadata would lead elsewhere."""
    for entry in os.scandir(directory):
        info = entry.stat(follow_symlinks=False)
        plain = stat.S_ISREG(info.st_mode) and info.st_nlink == 1
        if not plain and not (entry.name == "ROOT" and entry.is_dir(follow_symlinks=False)):
            raise StoreCorrupt(f"import: {entry.name!r}: neither ROOT nor a file of a container's", _NO_CLONE)
    damage = next(verify_container(directory), None)
    if damage is not None:
        cause = damage.what.replace(f"{directory}{os.sep}", "")
        raise StoreCorrupt(f"import: {cause}", _NO_CLONE)


def _fill(directory: Path, source: Container) -> None:
    before = _identity(source)
    copy_tree(Path(source.directory), directory, skip=(PROTECT,))
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
