"""The supported Python surface of the runtime: everything that the batch integration may use.

Images are named by text as on the command line; what depends on the network or the disk raises the errors
of ``udocker.errors``, which are exported here too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from udocker.config import Config
from udocker.engine.binaries import installed_directory, locate
from udocker.engine.userns import beside
from udocker.errors import (
    EngineError,
    NotFoundError,
    RegistryError,
    StoreError,
    StoreLocked,
    StoreNoSpace,
    UdockerError,
    UsageError,
    from_os_error,
)
from udocker.log import Log, warn_as
from udocker.model.imageconfig import Platform
from udocker.model.mode import ExecutionMode
from udocker.model.mount import Mount
from udocker.model.runspec import RunSpec
from udocker.store.paths import StorePaths
from udocker.store.store import Store
from udocker.system.files import discard, flush_output, is_there_now, remove_tree, tree_size, write_atomically
from udocker.system.process import ProcessIdentity
from udocker.values import TYPE_CHECKING, dataclass, field, replace

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Callable, Optional

    from _typeshed import StrPath

    from udocker.model.reference import ImageReference
    from udocker.store.lock import Holding, Outcome, SharedLock

__all__ = [
    "Config",
    "EngineError",
    "ExecutionMode",
    "Holding",
    "Log",
    "Mount",
    "NotFoundError",
    "Outcome",
    "ProcessIdentity",
    "RegistryError",
    "RunSpec",
    "SharedLock",
    "StoreError",
    "StoreLocked",
    "StoreNoSpace",
    "TYPE_CHECKING",
    "UdockerError",
    "UsageError",
    "accounting_program",
    "beside",
    "create_container",
    "dataclass",
    "discard",
    "discard_workspaces",
    "execution_modes",
    "find_container",
    "ensure_image",
    "field",
    "flush_output",
    "from_os_error",
    "has_container",
    "is_published",
    "is_there_now",
    "make_store_directory",
    "pack_image",
    "packed_size",
    "plan",
    "prepared_container",
    "remove_container",
    "remove_tree",
    "replace",
    "require_command",
    "require_mode",
    "resolve",
    "share_engines",
    "shared_lock",
    "tree_size",
    "unpack_container",
    "warn_as",
    "write_store_file",
]

# Of the lock, which who finds a container ready does not import.
_LOCK = ("Holding", "Outcome", "SharedLock")


def __getattr__(name: str) -> object:
    if name not in _LOCK:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from udocker.store import lock

    return getattr(lock, name)


def resolve(config: Config, image: str) -> str:
    """The image by digest, ``name@sha256:…``, asked from its registry where the text has none.

    Raises UsageError, RegistryError.
    """
    from udocker.model.reference import ImageReference

    reference = ImageReference.parse(image)
    if reference.digest is not None:
        return str(reference.pinned(reference.digest))
    # Imported where it is needed: a task that finds its container ready needs no HTTP.
    from udocker.run.images import resolve as ask

    return str(ask(config, reference))


def prepared_container(config: Config, image: str) -> str:
    """The id of the container that all tasks of a pinned image share; it need not be there yet."""
    from udocker.model.reference import ImageReference

    reference = ImageReference.parse(image)
    if reference.digest is None:
        raise UsageError(f"prepare: {image}: not pinned to a digest")
    return Store.at(config).containers.derived_id(f"{reference.digest} {Platform.host()}")


def has_container(config: Config, container_id: str) -> bool:
    """Whether the container is there, whole: one look at one name, no lock."""
    return Store.at(config).containers.has(container_id)


def find_container(config: Config, id_or_name: str) -> str:
    """The id of a container of this store or of those below it; raises NotFoundError, StoreCorrupt."""
    return Store.at(config).containers.find(id_or_name).id


def is_published(config: Config, container_id: str) -> bool:
    """As ``has_container``, for who has learnt that it may have come since it was missing: a list more."""
    return Store.at(config).containers.is_published(container_id)


def create_container(config: Config, image: str, container_id: str, workspace: str) -> bool:
    """Pull a pinned image where it is missing and unpack it as ``container_id``, durably.

    All that is unfinished stays in ``workspace``, a directory name below the store's ``tmp``.  Returns
    whether the image had to be pulled.  Raises RegistryError, StoreError.
    """
    from udocker.model.reference import ImageReference
    from udocker.run.images import create

    work = replace(config, workspace=workspace)
    try:
        pulled, _ = ensure_image(work, image)
        create(work, ImageReference.parse(image), container_id=container_id, durable=True)
    finally:
        discard(Store.at(work).paths.tmp)
    return pulled


def pack_image(
    config: Config,
    image: str,
    node: Config,
    container_id: str,
    archive: Path,
    fits: Callable[[int], None],
) -> None:
    """Make a container in the store of ``node``, and before it is seen an ``archive`` in that of ``config``.

    The image is one of the latter's, or of a lower store's.  ``fits`` is told the container's bytes and
    raises where the node has no room for them.  What is unfinished lies in the workspaces.  Raises
    NotFoundError where the image was not pulled, StoreError.
    """
    from udocker.model.reference import ImageReference
    from udocker.run.images import create
    from udocker.run.packing import pack_directory

    over = replace(node, lower=(config.udocker_dir, *config.lower))

    def filled(directory: Path) -> None:
        pack_directory(config, directory, archive)
        fits(packed_size(archive))

    create(over, ImageReference.parse(image), container_id=container_id, filled=filled)


def unpack_container(config: Config, archive: Path, container_id: str) -> None:
    """Make the container ``container_id`` of what ``pack_image`` has written; raises StoreError."""
    from udocker.run.packing import unpack_container as unpack

    unpack(config, archive, container_id)


def packed_size(archive: Path) -> int:
    """How many bytes the container takes that ``pack_image`` has written; raises StoreError."""
    from udocker.store.packed import packed_size as size

    return size(archive)


def ensure_image(config: Config, image: str) -> tuple[bool, int]:
    """Pull a pinned image where it is missing: whether that was so, and the bytes of its layers.

    All jobs that share the store pull ``config.registry_pulls`` images at a time.  Raises RegistryError,
    StoreError.
    """
    from udocker.model.reference import ImageReference
    from udocker.run.images import ensure_image as ensure

    reference = ImageReference.parse(image)
    store = Store.at(config)
    had = store.images.has(reference)
    if had:
        found = ensure(config, reference)
    else:
        with store.create().lock(_turn(config, reference)).passing():
            found = ensure(config, reference)
    return not had, sum(layer.size for layer in found.manifest.layers)


def _turn(config: Config, reference: ImageReference) -> str:
    """The lock of one of the turns; which one follows from the image, so that nobody looks for a free one."""
    assert reference.digest is not None
    return f"pull-{int(reference.digest.hex, 16) % config.registry_pulls}"


def share_engines(config: Config, node: Config) -> None:
    """Let the store of ``node`` have the engines that ``udocker install`` put into that of ``config``."""
    installed = installed_directory(config.udocker_dir)
    if os.path.lexists(installed):
        Store.at(node).create()
        try:
            os.symlink(installed, installed_directory(node.udocker_dir))
        except FileExistsError:
            return  # it has them, or some of its own


def remove_container(config: Config, container_id: str) -> None:
    """Remove a container of a store, if it is there; raises StoreError."""
    containers = Store.at(config).containers
    try:
        containers.remove(containers.directory(container_id))
    except NotFoundError:
        return


def discard_workspaces(config: Config, prefix: str) -> None:
    """Remove the workspaces whose names begin with ``prefix``: one's own, or of makers known to be dead."""
    tmp = Store.at(config).paths.tmp
    for path in tmp.glob(f"{prefix}*"):
        discard(path)


def shared_lock(config: Config, key: str) -> SharedLock:
    """The lock of ``key`` in the store, across nodes; makes the store where it is missing."""
    return Store.at(config).create().lock(key)


def make_store_directory(udocker_dir: StrPath, directory: StrPath) -> None:
    """Make a directory below UDOCKER_DIR, and its parents, with the store's permissions.

    A UDOCKER_DIR that is missing is made, private.  Raises OSError.
    """
    if os.path.isdir(directory):
        return
    from pathlib import Path

    if not os.path.exists(udocker_dir):
        os.makedirs(udocker_dir, mode=0o700, exist_ok=True)
    StorePaths(os.fspath(udocker_dir)).make(Path(directory))


def execution_modes(config: Config) -> Mapping[str, str]:
    """Every execution mode, tried on this host, with what hinders it: nothing where it works."""
    from udocker.engine.select import MODES, engine_of, why_not

    supports = {mode.value: engine_of(mode, config.udocker_dir).check(mode) for mode in MODES}
    return {name: "" if support.available else why_not(support) for name, support in supports.items()}


def require_mode(act: str, name: str) -> None:
    """Raise UsageError for an execution mode that nobody knows, or that this version has no engine for."""
    from udocker.engine.select import MODES, require_engine

    try:
        mode = ExecutionMode.parse(name)
    except UsageError as error:
        offered = ", ".join(mode.value for mode in MODES)
        raise UsageError(f"{act}: {error.message}", f"one of {offered}") from None
    require_engine(act, mode)


def require_command(config: Config, act: str, spec: RunSpec, image: str = "", container: str = "") -> None:
    """Raise UsageError where a run in a pinned image, or in a container, would have nothing to run.

    Of an image that the store does not have yet nobody knows.
    """
    from udocker.model.reference import ImageReference
    from udocker.run.images import configuration
    from udocker.run.plan import argv_of

    argv = (*(spec.entrypoint or ()), *spec.command)
    if not argv and container:
        argv = argv_of(Store.at(config).containers.find(container, named=False), spec)
    elif not argv and spec.entrypoint is None:
        known = configuration(config, ImageReference.parse(image))
        if known is None:
            return
        argv = spec.argv(known.entrypoint, known.cmd)
    if not argv:
        cause = f"{image or container}: no command given, and the image has none"
        raise UsageError(f"{act}: {cause}", "add a command")


def accounting_program() -> str:
    """The native program that runs another and writes down what it used; raises EngineUnavailable."""
    return locate("udocker-account")


def write_store_file(config: Config, path: Path, data: bytes) -> None:
    """Write a file below UDOCKER_DIR, whole or not at all, with the store's permissions.

    Missing directories are made.  Raises StoreError.
    """
    paths = Store.at(config).create().paths
    try:
        paths.make(path.parent)
        write_atomically(path, data, paths.file_mode)
    except OSError as error:
        raise from_os_error("write", error, str(path)) from error


def plan(
    config: Config, container_id: str, spec: RunSpec, environ: Mapping[str, str]
) -> tuple[tuple[str, ...], Mapping[str, str], Optional[str]]:
    """What to execute so that ``spec`` runs in a container: argument vector, environment, directory.

    The calling process, which becomes that or waits for it, is noted as running in the container, so that
    this user does not remove it here meanwhile.  Raises NotFoundError, UsageError, EngineError.
    """
    from udocker.model.runrecord import TASK
    from udocker.run.notes import note
    from udocker.run.plan import choice_of, plan_run

    container = Store.at(config).containers.find(container_id, named=False)
    choice = choice_of(config, container, spec)
    launch = plan_run(config, container, spec, environ, choice=choice)
    if not container.location:
        note(container, launch, choice[1].value, TASK)
    return launch.argv, launch.env, launch.cwd
