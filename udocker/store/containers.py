"""Containers by id and name, in the directory format of udocker 1.3.

A container is unpacked under ``tmp`` and renamed into place when it is whole: one that can be seen is
complete.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Callable, Optional

from udocker.errors import NotFoundError, StoreCorrupt, StoreError, UsageError, from_os_error
from udocker.model.container import Container
from udocker.model.manifest import ImageConfig
from udocker.store.paths import StorePaths
from udocker.store.protection import is_protected
from udocker.system.files import (
    discard,
    remove_tree,
    sync_directory,
    sync_file_system,
    unique_name,
    write_atomically,
)

_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+){4}")
# What udocker refuses in a name, and what would make one a path, an option or two lines.
_BAD_NAME = re.compile(r"[/. \[\]\x00-\x1f\x7f]|^-")
_MAX_NAME = 255
_CONFIG, _IMAGE, _ROOT = "container.json", "imagerepo.name", "ROOT"
# What every run binds over: made now, so that no run has to change a tree that it may not be allowed to.
_MOUNT_POINTS = ("dev", "proc", "sys", "tmp", "etc")
_MOUNT_FILES = ("resolv.conf", "hosts")


# What rename(2) says of a directory that is there and not empty.
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)

# The name space of container ids that are derived from what they hold; any UUID would do.
_DERIVED = "5b0f6d3c-2f43-4b38-9c4e-7f6c19a0f1de"


class ContainerStore:
    """The directory ``containers``."""

    def __init__(self, paths: StorePaths) -> None:
        self._paths = paths

    def create(
        self,
        image: str,
        config: Mapping[str, Any],
        unpack: Callable[[Path], None],
        container_id: str = "",
        extra: Optional[Mapping[str, Any]] = None,
        durable: bool = False,
    ) -> Container:
        """Make a container; ``unpack`` fills its root directory.

        Where a container of the same ``container_id`` is there first, that one is returned.  ``extra`` is
        kept in ``udocker.json``.  With ``durable`` the files have reached the disk before anybody sees the
        container, so that the crash of this node leaves no truncated file for the others.  Raises
        StoreError, UnpackError.
        """

        def fill(directory: Path) -> None:
            self._fill(directory, image, config, unpack, extra or {})

        return self.publish(container_id or _new_id(), fill, durable)

    def publish(
        self, container_id: str, fill: Callable[[Path], None], durable: bool = False, act: str = "create"
    ) -> Container:
        """Make a container of the directory that ``fill`` makes, under the path that it is given."""
        target = self._paths.containers / container_id
        temporary = self._paths.tmp / unique_name(f"{act}-{container_id}-")
        try:
            fill(temporary)
            if durable:
                sync_file_system(temporary)
            os.rename(temporary, target)
            sync_directory(self._paths.containers)
        except OSError as error:
            if error.errno not in _TAKEN:  # by another process, which made the same container
                raise from_os_error(act, error, str(target)) from error
        finally:
            discard(temporary)
        return self.find(container_id)

    def _fill(
        self,
        directory: Path,
        image: str,
        config: Mapping[str, Any],
        unpack: Callable[[Path], None],
        extra: Mapping[str, Any],
    ) -> None:
        root = directory / _ROOT
        self._paths.make(directory)
        _make_directory(root)
        unpack(root)
        _make_mount_points(root)
        mode = self._paths.file_mode
        write_atomically(directory / _CONFIG, json.dumps(config).encode(), mode)
        write_atomically(directory / "udocker.json", json.dumps(dict(extra)).encode(), mode)
        write_atomically(directory / _IMAGE, image.encode(), mode)

    def find(self, id_or_name: str) -> Container:
        """The container of an id or a name; raises NotFoundError, StoreCorrupt."""
        directory = self.directory(id_or_name)
        if not (directory / _ROOT).is_dir():
            raise NotFoundError(f"container: {id_or_name}: not here", "see udocker ps")
        try:
            config = ImageConfig.parse((directory / _CONFIG).read_bytes())
            image = (directory / _IMAGE).read_text(encoding="utf-8", errors="surrogateescape").strip()
        except OSError as error:
            raise StoreCorrupt(
                f"container: {id_or_name}: {error.filename}: {error.strerror}", "remove and create it again"
            ) from error
        except StoreCorrupt as error:
            message = f"container: {id_or_name}: {directory / _CONFIG}: {error.message}"
            raise StoreCorrupt(message, "remove and create it again") from None
        return Container(directory.name, directory, image, config, self.names(directory.name))

    def directory(self, id_or_name: str) -> Path:
        """The directory of an id or a name, which may hold less than a container; raises NotFoundError."""
        directory = self._paths.containers / id_or_name
        if not id_or_name or "/" in id_or_name or id_or_name in (".", "..") or "\0" in id_or_name:
            raise NotFoundError(f"container: {id_or_name!r}: not here", "see udocker ps")
        if len(os.fsencode(id_or_name)) <= _MAX_NAME:
            target = _link_target(directory)
            directory = self._paths.containers / target if target else directory
            if directory.is_dir():
                return directory
        raise NotFoundError(f"container: {id_or_name}: not here", "see udocker ps")

    @staticmethod
    def derived_id(content: str) -> str:
        """The id that every node gives to a container of this content."""
        import uuid  # not for those who start a container

        return str(uuid.uuid5(uuid.UUID(_DERIVED), content))

    def has(self, container_id: str) -> bool:
        """Whether a container of this id is there, whole; takes no lock and reads one entry."""
        return (self._paths.containers / container_id / _ROOT).is_dir()

    def ids(self) -> list[str]:
        """The ids of all containers, sorted."""
        try:
            entries = list(os.scandir(self._paths.containers))
        except FileNotFoundError:
            return []
        return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))

    def names(self, container_id: str) -> tuple[str, ...]:
        """A container's names, sorted."""
        links = (entry for entry in os.scandir(self._paths.containers) if entry.is_symlink())
        return tuple(sorted(link.name for link in links if _link_target(Path(link.path)) == container_id))

    def name(self, container_id: str, name: str, replace: bool = False) -> None:
        """Give a container a name, taking it from another one where ``replace`` is set.

        Raises UsageError, and StoreError when the name is taken.
        """
        check_name(name)
        link = self._paths.containers / name
        try:
            if replace:
                temporary = self._paths.tmp / unique_name("name-")
                os.symlink(container_id, temporary)
                os.rename(temporary, link)
            else:
                os.symlink(container_id, link)
        except FileExistsError:
            raise StoreError(f"name: {name}: already taken", "choose another, or remove that one") from None
        except OSError as error:
            raise from_os_error("name", error, str(self._paths.containers)) from error

    def name_new(self, container: Container, name: str, replace: bool = False) -> Container:
        """Give a container that was made just now its name; where that fails the container goes as well.

        Raises UsageError, StoreError.
        """
        try:
            self.name(container.id, name, replace)
        except StoreError as error:
            try:
                self.remove(container.directory)
            except StoreError:
                # Whole, and of no use to anybody who does not know of it.
                hint = f"container {container.id} stays without a name: udocker rm {container.id}"
                raise type(error)(error.message, hint) from error
            raise
        return self.find(container.id)

    def unname(self, name: str) -> None:
        """Take a name away from its container, if that is still there; raises NotFoundError, StoreError."""
        link = self._link(name)
        try:
            link.unlink()
        except FileNotFoundError:
            raise _no_such_name(name) from None
        except OSError as error:
            raise from_os_error("rmname", error, str(link)) from error

    def rename(self, name: str, new: str) -> None:
        """Change a name; the container has one of them at every moment.

        Raises NotFoundError, UsageError, and StoreError when the new name is taken.
        """
        self._link(name)
        self.name(self.directory(name).name, new)
        try:
            self.unname(name)
        except NotFoundError:
            self.unname(new)  # somebody else renamed it at the same time, and was first
            raise

    def _link(self, name: str) -> Path:
        """The link of a name; raises NotFoundError where it is none."""
        link = self._paths.containers / name
        if "/" in name or "\0" in name or len(os.fsencode(name)) > _MAX_NAME or not _link_target(link):
            raise _no_such_name(name)
        return link

    def is_taken(self, name: str) -> bool:
        """Whether a container has this name or id."""
        return os.path.lexists(self._paths.containers / name)

    def is_protected(self, directory: Path) -> bool:
        """Whether ``udocker protect`` marked the container."""
        return is_protected(directory)

    def remove(self, directory: Path) -> None:
        """Remove a container, damaged or not, and its names: out of sight in one step, then the files."""
        self._paths.create()  # a store of udocker 1.3 has no tmp
        trash = self._paths.tmp / unique_name(f"remove-{directory.name}-")
        try:
            names = self.names(directory.name)
            try:
                for name in names:
                    (self._paths.containers / name).unlink(missing_ok=True)
                os.rename(directory, trash)
            except OSError:
                self._restore(names, directory.name)
                raise
            remove_tree(trash)
        except FileNotFoundError:
            raise NotFoundError(f"container: {directory.name}: not here", "see udocker ps") from None
        except OSError as error:
            raise from_os_error("rm", error, str(directory)) from error

    def _restore(self, names: Iterable[str], container_id: str) -> None:
        """Give a container that could not be removed its names back."""
        if self.has(container_id):
            for name in names:
                try:
                    os.symlink(container_id, self._paths.containers / name)
                except OSError:
                    continue  # it has that name still, or the disk takes nothing: its id remains


def _new_id() -> str:
    import uuid  # not for those who start a container

    return str(uuid.uuid4())


def _no_such_name(name: str) -> NotFoundError:
    return NotFoundError(f"name: {name!r}: no container has it", "see udocker ps")


def _link_target(path: Path) -> str:
    """The id that a name links to; empty for what is no link, or no longer one."""
    try:
        target = os.path.basename(os.readlink(path))
    except OSError:
        return ""
    return "" if target in (".", "..") else target


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


def check_name(name: str) -> None:
    """Raise UsageError for a container name that udocker would not take either."""
    if not name or _BAD_NAME.search(name) or len(os.fsencode(name)) > _MAX_NAME or _ID.fullmatch(name):
        raise UsageError(f"name: {name!r}: not a container name", "letters, digits, - and _ are fine")
