"""Undo what udocker 1.3 and its engines left in a container's root, as ``udocker setup --purge`` does.

All names come from files that anybody who can write the container may have made: they are resolved below
the container's root.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path, PurePosixPath

from udocker.errors import from_os_error
from udocker.store.execmode import PARKED, PARKED_TARGET, parked_files
from udocker.system.files import remove_tree
from udocker.system.rooted import open_in_root

_MOUNT_POINTS = ".mountpoints"
_DIRECTORY = os.O_PATH | os.O_DIRECTORY


def purge(directory: Path) -> None:
    """Put back the files that R modes put away, and remove empty mount points; raises StoreError."""
    root = directory / "ROOT"
    try:
        _restore_parked(directory, root)
        _remove_mount_points(directory / _MOUNT_POINTS, root)
    except OSError as error:
        raise from_os_error("setup", error) from error


def make_usable(root: Path) -> None:
    """Give the owner what he needs to read, write and enter everything of his; raises StoreError."""
    waiting = ["."]
    try:
        while waiting:
            place = waiting.pop()
            fd = open_in_root(root, place, os.O_RDONLY | os.O_DIRECTORY)
            try:
                waiting.extend(f"{place}/{name}" for name in os.listdir(fd) if _make_usable(fd, name))
            finally:
                os.close(fd)
    except OSError as error:
        raise from_os_error("setup", error, str(error.filename or root)) from error


def _make_usable(parent: int, name: str) -> bool:
    """Mend one entry, if it is the caller's; whether it is a directory to go down into."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        info = os.fstat(fd)
        is_directory = stat.S_ISDIR(info.st_mode)
        needed = stat.S_IRWXU if is_directory else stat.S_IRUSR | stat.S_IWUSR
        if not (is_directory or stat.S_ISREG(info.st_mode)) or info.st_uid != os.geteuid():
            return False
        if info.st_mode & needed != needed:
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IMODE(info.st_mode) | needed)
        return is_directory
    finally:
        os.close(fd)


def _restore_parked(directory: Path, root: Path) -> None:
    parked = parked_files(directory)
    if parked is not None:
        for name in os.listdir(parked):
            _restore_file(Path(parked, name), root, PurePosixPath(name.replace("#", "/")))
    remove_tree(directory / PARKED)
    remove_tree(root / PARKED_TARGET.lstrip("/"))


def _restore_file(file: Path, root: Path, place: PurePosixPath) -> None:
    parent = open_in_root(root, str(place.parent), _DIRECTORY)
    try:
        if _is_link(parent, place.name):
            os.unlink(place.name, dir_fd=parent)
        elif _is_there(parent, place.name):
            return  # the program has made a new one meanwhile, which counts
        os.rename(file, place.name, dst_dir_fd=parent)
    finally:
        os.close(parent)


def _is_link(parent: int, name: str) -> bool:
    return _is_there(parent, name) and stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode)


def _is_there(parent: int, name: str) -> bool:
    try:
        os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    return True


def _remove_mount_points(records: Path, root: Path) -> None:
    """Each record is a link: its name tells a mount point, its target what was there before."""
    if not records.is_dir():
        return
    for name in os.listdir(records):
        if (records / name).is_symlink():
            place = PurePosixPath("/" + name.replace("#", "/"))
            kept = PurePosixPath("/" + os.readlink(records / name).replace("#", "/"))
            while place != kept and place.name and _remove_empty(root, place):
                place = place.parent
    remove_tree(records)


def _remove_empty(root: Path, place: PurePosixPath) -> bool:
    """Remove an empty directory or file; whether it is gone."""
    try:
        parent = open_in_root(root, str(place.parent), _DIRECTORY)
    except FileNotFoundError:
        return True
    try:
        info = os.lstat(place.name, dir_fd=parent)
        if stat.S_ISDIR(info.st_mode):
            os.rmdir(place.name, dir_fd=parent)
        elif stat.S_ISREG(info.st_mode) and info.st_size == 0:
            os.unlink(place.name, dir_fd=parent)
        else:
            return False
        return True
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False  # in use by the container itself
        raise
    finally:
        os.close(parent)
