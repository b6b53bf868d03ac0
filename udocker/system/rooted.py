"""Files of a tree that is not to be trusted, opened as a process with that tree as its root would.

Symbolic links are resolved with the tree's root as ``/``; none can lead out of it.
"""

from __future__ import annotations

import errno
import os
import stat

from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional

    from _typeshed import StrPath

# As many as the kernel follows: path_resolution(7).
_LINKS_MAX = 40
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC


def open_in_root(root: StrPath, path: str, flags: int = os.O_RDONLY) -> int:
    """Open ``path`` of the tree at ``root`` and return the descriptor; raises OSError.

    Nothing is created.  O_NONBLOCK is set, so that a FIFO does not block the caller.
    """
    resolved = _resolve(root, path)
    parent = _descend(root, resolved[:-1])
    try:
        name = resolved[-1] if resolved else "."
        return os.open(name, flags | _FLAGS | os.O_NONBLOCK, dir_fd=parent)
    finally:
        os.close(parent)


def read_in_root(root: StrPath, path: str, limit: int) -> bytes:
    """The content of a regular file of the tree.

    Raises OSError, with EFBIG for a file of more than ``limit`` bytes and EINVAL for one that is not
    a regular file.
    """
    fd = open_in_root(root, path)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        with os.fdopen(fd, "rb", closefd=False) as stream:
            data = stream.read(limit + 1)
    finally:
        os.close(fd)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", path)
    return data


def _resolve(root: StrPath, path: str) -> list[str]:
    """The components that lead from the root to ``path`` without any link."""
    done: list[str] = []
    rest = path.split("/")[::-1]
    links = 0
    while rest:
        name = rest.pop()
        if name == "..":
            os.close(_descend(root, done))  # ENOTDIR for "file/.."
            done = done[:-1]
        elif name not in ("", "."):
            target = _link_target(root, done, name)
            if target is None:
                done.append(name)
                continue
            links += 1
            if links > _LINKS_MAX:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                done = []
            rest.extend(target.split("/")[::-1])
    return done


def _link_target(root: StrPath, directory: list[str], name: str) -> Optional[str]:
    parent = _descend(root, directory)
    try:
        if not stat.S_ISLNK(os.lstat(name, dir_fd=parent).st_mode):
            return None
        return os.readlink(name, dir_fd=parent)
    finally:
        os.close(parent)


def _descend(root: StrPath, components: list[str]) -> int:
    """A descriptor of a directory below the root, reached without following a link."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in components:
        try:
            child = os.open(name, os.O_PATH | os.O_DIRECTORY | _FLAGS, dir_fd=fd)
        finally:
            os.close(fd)
        fd = child
    return fd
