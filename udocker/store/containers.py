"""Containers by id and name, in the directory format of udocker 1.3.

A container is unpacked under ``tmp`` and renamed into place when it is whole: one that can be seen is
complete.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence

from udocker.errors import NotFoundError, StoreCorrupt, StoreError, from_os_error, unreadable
from udocker.model.container import Container
from udocker.model.imageconfig import ImageConfig
from udocker.store.names import MAX_NAME, ContainerNames, link_target
from udocker.store.names import check_name as check_name
from udocker.store.paths import StorePaths
from udocker.store.protection import is_protected
from udocker.store.timing import DEFAULT_TIMING, LockTiming
from udocker.system.files import (
    discard,
    forget_absence,
    is_directory,
    remove_tree,
    sync_directory,
    sync_file_system,
    unique_name,
    write_atomically,
)
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, Callable, Optional

    from _typeshed import StrPath

CONFIG, IMAGE, ROOT = "container.json", "imagerepo.name", "ROOT"
# What every run binds over: made now, so that no run has to change a tree that it may not be allowed to.
_MOUNT_POINTS = ("dev", "proc", "sys", "tmp", "etc")
_MOUNT_FILES = ("resolv.conf", "hosts")


# What rename(2) says of a directory that is there and not empty.
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)

# The name space of container ids that are derived from what they hold; any constant would do.
_DERIVED = "5b0f6d3c-2f43-4b38-9c4e-7f6c19a0f1de"


class ContainerStore(ContainerNames):
    """The directory ``containers``.

    What is missing is looked for in ``lower`` stores, in their order, which are only read.
    """

    def __init__(
        self, paths: StorePaths, timing: LockTiming = DEFAULT_TIMING, lower: Sequence[ContainerStore] = ()
    ) -> None:
        super().__init__(paths, timing)
        self._lower = tuple(lower)

    def create(
        self,
        image: str,
        config: Mapping[str, Any],
        unpack: Callable[[Path], None],
        container_id: str = "",
        extra: Optional[Mapping[str, Any]] = None,
        durable: bool = False,
        name: str = "",
        replace: bool = False,
        filled: Optional[Callable[[Path], None]] = None,
    ) -> Container:
        """Make a container; ``unpack`` fills its root directory.

        ``filled`` is given its directory when that is whole and nobody sees it yet.

        Where a container of the same ``container_id`` is there first, that one is returned.  ``extra`` is
        kept in ``udocker.json``.  With ``durable`` the files have reached the disk before anybody sees the
        container, so that the crash of this node leaves no truncated file for the others.  ``name`` and
        ``replace`` are as for ``publish``.  Raises StoreError, UnpackError.
        """

        def fill(directory: Path) -> None:
            self._fill(directory, image, config, unpack, extra or {})
            if filled is not None:
                filled(directory)

        return self.publish(container_id or _new_id(), fill, durable, "create", name, replace)

    def publish(
        self,
        container_id: str,
        fill: Callable[[Path], None],
        durable: bool = False,
        act: str = "create",
        name: str = "",
        replace: bool = False,
    ) -> Container:
        """Make a container of the directory that ``fill`` makes, under the path that it is given.

        It is visible with its ``name``, if it gets one, which ``replace`` takes from another container.
        Raises UsageError, and StoreError where the name is taken.
        """
        if name:
            check_name(name)
        target = self._paths.containers / container_id
        temporary = self._paths.tmp / unique_name(f"{act}-{container_id}-")
        try:
            fill(temporary)
            # Read while it is ours: once others see it, the next moment may be somebody's rm.
            config, image = self._describe(temporary, container_id)
            if durable:
                sync_file_system(temporary)
            if name:
                self.name(container_id, name, replace)
            os.rename(temporary, target)
            sync_directory(self._paths.containers)
            return Container(container_id, str(target), image, config, (name,) if name else ())
        except OSError as error:
            if error.errno not in _TAKEN:  # by another process, which made the same container
                raise from_os_error(act, error, str(target)) from error
        finally:
            discard(temporary)
            self._withdraw(name, container_id)
        return self.find(container_id)

    def _withdraw(self, name: str, container_id: str) -> None:
        """Take a name back from a container that came to nothing."""
        link = self._paths.containers / name
        if name and link_target(link) == container_id and self.is_abandoned(link):
            link.unlink(missing_ok=True)

    def _fill(
        self,
        directory: Path,
        image: str,
        config: Mapping[str, Any],
        unpack: Callable[[Path], None],
        extra: Mapping[str, Any],
    ) -> None:
        root = directory / ROOT
        self._paths.make(directory)
        _make_directory(root)
        unpack(root)
        _make_mount_points(root)
        mode = self._paths.file_mode
        write_atomically(directory / CONFIG, json.dumps(config).encode(), mode)
        write_atomically(directory / "udocker.json", json.dumps(dict(extra)).encode(), mode)
        write_atomically(directory / IMAGE, image.encode(), mode)

    def settle(self, directory: Path) -> None:
        """Give a container's directory that came from elsewhere what one made here has; raises OSError."""
        _make_mount_points(directory / ROOT)
        directory.chmod(os.stat(self._paths.root).st_mode & 0o2777)
        for path in directory.iterdir():
            path.chmod(0o755 if path.name == ROOT else self._paths.file_mode)

    def find(self, id_or_name: str, named: bool = True) -> Container:
        """The container of an id or a name; raises NotFoundError, StoreCorrupt.

        It comes without its names, for which all containers are looked at, unless it is to be ``named``.
        """
        directory = self.directory(id_or_name)
        if not is_directory(os.path.join(directory, ROOT)):
            raise NotFoundError(f"container: {id_or_name}: not here", "see udocker ps")
        config, image = self._describe(directory, id_or_name)
        container_id = os.path.basename(directory)
        names = self._holder(directory).names(container_id) if named else ()
        return Container(container_id, directory, image, config, names)

    @staticmethod
    def _describe(directory: StrPath, id_or_name: str) -> tuple[ImageConfig, str]:
        """What a container's directory says of its image; raises StoreCorrupt, StoreError."""
        try:
            with open(os.path.join(directory, CONFIG), "rb") as file:
                config = ImageConfig.parse(file.read())
            with open(os.path.join(directory, IMAGE), encoding="utf-8", errors="surrogateescape") as names:
                image = names.read().strip()
        except OSError as error:
            what = f"container: {id_or_name}: {error.filename or directory}"
            raise unreadable(what, error, "remove and create it again") from error
        except StoreCorrupt as error:
            message = f"container: {id_or_name}: {os.path.join(directory, CONFIG)}: {error.message}"
            raise StoreCorrupt(message, "remove and create it again") from None
        return config, image

    def directory(self, id_or_name: str) -> str:
        """The directory of an id or a name, which may hold less than a container; raises NotFoundError."""
        if not id_or_name or "/" in id_or_name or id_or_name in (".", "..") or "\0" in id_or_name:
            raise NotFoundError(f"container: {id_or_name!r}: not here", "see udocker ps")
        for store in (self, *self._lower) if len(os.fsencode(id_or_name)) <= MAX_NAME else ():
            directory = os.path.join(store._directory, id_or_name)
            target = link_target(directory)
            directory = os.path.join(store._directory, target) if target else directory
            if is_directory(directory):
                return directory
        raise NotFoundError(f"container: {id_or_name}: not here", "see udocker ps")

    @staticmethod
    def derived_id(content: str) -> str:
        """The id that every node gives to a container of this content."""
        import uuid  # not for those who start a container

        return str(uuid.uuid5(uuid.UUID(_DERIVED), content))

    def has(self, container_id: str) -> bool:
        """Whether a container of this id is there, whole; takes no lock and reads one entry."""
        places = [store._directory for store in (self, *self._lower)]
        return any(is_directory(os.path.join(place, container_id, ROOT)) for place in places)

    def is_published(self, container_id: str) -> bool:
        """As ``has``, by a list of the directory: this node's client may remember that it was missing."""
        if self.has(container_id):
            return True
        if container_id not in os.listdir(self._directory):
            return False
        forget_absence(os.path.join(self._directory, container_id))
        return self.has(container_id)

    def ids(self) -> list[str]:
        """The ids of all containers, sorted."""
        found: set[str] = set()
        for store in (self, *self._lower):
            try:
                entries = list(os.scandir(store._directory))
            except FileNotFoundError:
                continue  # a store that is not made yet
            found.update(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        return sorted(found)

    def rename(self, name: str, new: str) -> None:
        """Change a name; the container has one of them at every moment.

        Raises NotFoundError, UsageError, and StoreError when the new name is taken.
        """
        self._link(name, "rename")
        self.name(os.path.basename(self.directory(name)), new)
        try:
            self.unname(name)
        except NotFoundError:
            self.unname(new)  # somebody else renamed it at the same time, and was first
            raise

    def is_own(self, directory: StrPath) -> bool:
        """Whether a container's directory is of this store, not of a lower one."""
        return os.path.dirname(directory) == self._directory

    def lists(self, directory: StrPath) -> bool:
        """Whether a container's directory is one of those that ``ids`` has, of this store or a lower one."""
        return any(store.is_own(directory) for store in (self, *self._lower))

    def refuse_lower(self, directory: StrPath, act: str) -> None:
        """Raise StoreError for a container of a lower store, which is not ours to change."""
        if not self.is_own(directory):
            above, name = os.path.split(directory)
            cause = f"is the site's, in {above}"
            raise StoreError(f"{act}: {name}: {cause}", "udocker clone makes a copy of your own")

    def _refuse_lower(self, container: str, act: str) -> None:
        try:
            directory = self.directory(container)
        except NotFoundError:
            return  # it is on its way
        self.refuse_lower(directory, act)

    def _holder(self, directory: StrPath) -> ContainerStore:
        """The store that a container's directory is of."""
        return next((lower for lower in self._lower if lower.is_own(directory)), self)

    def is_protected(self, directory: StrPath) -> bool:
        """Whether ``udocker protect`` marked the container."""
        return is_protected(directory)

    def remove(self, directory: StrPath) -> None:
        """Remove a container, damaged or not, and its names: out of sight in one step, then the files."""
        self.refuse_lower(directory, "rm")
        container_id = os.path.basename(directory)
        self._paths.create()  # a store of udocker 1.3 has no tmp
        trash = self._paths.tmp / unique_name(f"remove-{container_id}-")
        try:
            os.rename(directory, trash)
            for name in self.names(container_id):
                (self._paths.containers / name).unlink(missing_ok=True)
            remove_tree(trash)
            remove_tree(self._paths.runs / container_id)
        except FileNotFoundError:
            raise NotFoundError(f"container: {container_id}: not here", "see udocker ps") from None
        except OSError as error:
            raise from_os_error("rm", error, str(directory)) from error


def _make_mount_points(root: Path) -> None:
    for name in _MOUNT_POINTS:
        if not os.path.lexists(root / name):
            _make_directory(root / name)
    etc = root / "etc"
    if etc.is_symlink() or not etc.is_dir():
        return  # an odd image: whoever runs it is told what cannot be bound
    for name in _MOUNT_FILES:
        if not os.path.lexists(etc / name):
            (etc / name).touch()
            (etc / name).chmod(0o644)


def _make_directory(path: Path) -> None:
    path.mkdir()
    path.chmod(0o755)  # whatever the umask: what is unpacked has its own permissions, too


def _new_id() -> str:
    import uuid  # not for those who start a container

    return str(uuid.uuid4())
