"""The supported Python surface of the runtime: everything that the batch integration may use.

Images are named by text as on the command line; what depends on the network or the disk raises the errors
of ``udocker.errors``, which are exported here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from udocker.config import Config
from udocker.errors import (
    EngineError,
    NotFoundError,
    RegistryError,
    StoreError,
    StoreLocked,
    UdockerError,
    UsageError,
    from_os_error,
)
from udocker.model.manifest import Platform
from udocker.model.mount import Mount
from udocker.model.reference import ImageReference
from udocker.model.runspec import RunSpec
from udocker.store.lock import Holding, Outcome, SharedLock
from udocker.store.paths import StorePaths
from udocker.store.store import Store
from udocker.system.files import remove_tree, write_atomically
from udocker.system.process import ProcessIdentity
from udocker.values import replace

__all__ = [
    "Config",
    "EngineError",
    "Holding",
    "Mount",
    "NotFoundError",
    "Outcome",
    "ProcessIdentity",
    "RegistryError",
    "RunSpec",
    "SharedLock",
    "StoreError",
    "StoreLocked",
    "UdockerError",
    "UsageError",
    "create_container",
    "discard_workspaces",
    "from_os_error",
    "has_container",
    "is_published",
    "make_store_directory",
    "plan",
    "prepared_container",
    "resolve",
    "shared_lock",
    "write_store_file",
]


def resolve(config: Config, image: str) -> str:
    """The image by digest, ``name@sha256:…``, asked from its registry where the text has none.

    Raises UsageError, RegistryError.
    """
    reference = ImageReference.parse(image)
    if reference.digest is not None:
        return str(reference.pinned(reference.digest))
    # Imported where it is needed: a task that finds its container ready needs no HTTP.
    from udocker.run.images import resolve as ask

    return str(ask(config, reference))


def prepared_container(config: Config, image: str) -> str:
    """The id of the container that all tasks of a pinned image share; it need not be there yet."""
    reference = ImageReference.parse(image)
    if reference.digest is None:
        raise UsageError(f"prepare: {image}: not pinned to a digest")
    return Store.at(config).containers.derived_id(f"{reference.digest} {Platform.host()}")


def has_container(config: Config, container_id: str) -> bool:
    """Whether the container is there, whole: one look at one name, no lock."""
    return Store.at(config).containers.has(container_id)


def is_published(config: Config, container_id: str) -> bool:
    """As ``has_container``, for who has learnt that it may have come since it was missing: a list more."""
    return Store.at(config).containers.is_published(container_id)


def create_container(config: Config, image: str, container_id: str, workspace: str) -> bool:
    """Pull a pinned image where it is missing and unpack it as ``container_id``, durably.

    All that is unfinished stays in ``workspace``, a directory name below the store's ``tmp``.  Returns
    whether the image had to be pulled.  Raises RegistryError, StoreError.
    """
    from udocker.run.images import create, ensure_image

    work = replace(config, workspace=workspace)
    reference = ImageReference.parse(image)
    had = Store.at(work).images.has(reference)
    try:
        ensure_image(work, reference)
        create(work, reference, container_id=container_id, durable=True)
    finally:
        remove_tree(Store.at(work).paths.tmp)
    return not had


def discard_workspaces(config: Config, prefix: str) -> None:
    """Remove the workspaces whose names begin with ``prefix``: of makers that are known to be dead."""
    tmp = Store.at(config).paths.tmp
    for path in tmp.glob(f"{prefix}*"):
        remove_tree(path)


def shared_lock(config: Config, key: str) -> SharedLock:
    """The lock of ``key`` in the store, across nodes; makes the store where it is missing."""
    return Store.at(config).create().lock(key)


def make_store_directory(udocker_dir: Path, directory: Path) -> None:
    """Make a directory below UDOCKER_DIR, and its parents, with the store's permissions.

    A UDOCKER_DIR that is missing is made, private.  Raises OSError.
    """
    if not udocker_dir.exists():
        udocker_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    StorePaths(str(udocker_dir)).make(directory)


def write_store_file(config: Config, path: Path, text: str) -> None:
    """Write an ASCII file below UDOCKER_DIR, whole or not at all, with the store's permissions.

    Missing directories are made.  Raises StoreError.
    """
    paths = Store.at(config).create().paths
    try:
        paths.make(path.parent)
        write_atomically(path, text.encode("ascii"), paths.file_mode)
    except OSError as error:
        raise from_os_error("write", error, str(path)) from error


def plan(
    config: Config, container_id: str, spec: RunSpec, environ: Mapping[str, str]
) -> tuple[tuple[str, ...], Mapping[str, str], Optional[str]]:
    """What to execute so that ``spec`` runs in a container: argument vector, environment, directory.

    Raises NotFoundError, UsageError, EngineError.
    """
    from udocker.run.plan import plan_run

    launch = plan_run(config, Store.at(config).containers.find(container_id), spec, environ)
    return launch.argv, launch.env, launch.cwd
