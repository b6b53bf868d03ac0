"""Containers in one file: made of an image of the store, and unpacked into another store."""

from __future__ import annotations

from pathlib import Path

from udocker.config import Config
from udocker.errors import from_os_error
from udocker.model.container import Container
from udocker.store.clone import clone_archive
from udocker.store.limits import Limits
from udocker.store.packed import pack
from udocker.store.store import Store
from udocker.system.files import discard, unique_name
from udocker.values import replace


def pack_directory(config: Config, directory: Path, target: Path) -> None:
    """Write a container's directory to a file below the store of ``config``; raises StoreError."""
    store = Store.at(config).create()
    temporary = store.paths.tmp / unique_name("pack-")
    try:
        store.paths.make(target.parent)
        pack(directory, temporary, target, store.paths.file_mode)
    except OSError as error:
        raise from_os_error("pack", error, str(target)) from error
    finally:
        discard(temporary)


def unpack_container(config: Config, archive: Path, container_id: str) -> Container:
    """Make the container ``container_id`` of what ``pack_container`` has written.

    Raises StoreError, UnpackError.
    """
    # What we compressed ourselves is no bomb, however well it compressed; a file with a long hole does.
    limits = replace(Limits.of(config), ratio=1 << 40)
    return clone_archive(Store.at(config).create().containers, archive, limits, container_id=container_id)
