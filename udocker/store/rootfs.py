"""A directory tree that layers are applied to, and out of which no path leads.

Every path of an archive is resolved component by component from the root's descriptor, symbolic links
included, as if the root were ``/`` (path_resolution(7)); the kernel is only ever given one name at a
time and told not to follow it.  So a layer may put a link anywhere and a later one a file beneath it: the
file lands inside the root.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterable

from udocker.errors import UnpackError
from udocker.system.files import remove_entry

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # as the kernel's own limit, path_resolution(7)
_MAX_DEPTH = 512  # of directories: deeper trees cannot be removed again by ordinary programs
_CACHED = 128


class RootTree:
    """Directories of a root by descriptor.  Close it, or use it in a ``with`` block."""

    def __init__(self, root: str) -> None:
        self._root = os.open(root, _DIRECTORY)
        # A path without links, "" for the root itself, to its descriptor; the least recently used go first.
        self._open: OrderedDict[str, int] = OrderedDict()

    def __enter__(self) -> RootTree:
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()
        os.close(self._root)

    def forget(self) -> None:
        """Close every cached descriptor: needed when a directory or a link was removed."""
        while self._open:
            os.close(self._open.popitem()[1])

    def parent(self, path: str, create: bool = True) -> tuple[int, str]:
        """The descriptor of the directory that ``path`` lies in, and its last component.

        Missing directories are made where ``create`` is set.  The descriptor belongs to the tree and
        is good until the next call.  Raises UnpackError, FileNotFoundError, NotADirectoryError.
        """
        directory, _, name = path.rpartition("/")
        return self.directory(directory, create), name

    def directory(self, path: str, create: bool = False) -> int:
        """The descriptor of the directory ``path``; as for ``parent``."""
        if not path:
            return self._root
        known = self._open.get(path)
        if known is not None:
            self._open.move_to_end(path)
            return known
        fd = self._walk(path, create)
        self._open[path] = fd
        while len(self._open) > _CACHED:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def _walk(self, path: str, create: bool) -> int:
        """Open ``path`` from the root on; ``names`` are the components still to come, last first."""
        stack = [os.dup(self._root)]
        names = _components(path)
        links = 0
        try:
            while names:
                name = names.pop()
                if len(stack) > _MAX_DEPTH:
                    raise UnpackError(f"unpack: {path[:80]!r}…: more than {_MAX_DEPTH} directories deep")
                if name == "..":
                    if len(stack) > 1:
                        os.close(stack.pop())
                    continue
                try:
                    stack.append(os.open(name, _DIRECTORY, dir_fd=stack[-1]))
                except FileNotFoundError:
                    if not create:
                        raise
                    os.mkdir(name, 0o755, dir_fd=stack[-1])
                    names.append(name)
                except OSError as error:
                    # ELOOP or ENOTDIR, as the kernel likes it, for a link that it was told not to follow.
                    if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                        raise
                    links += 1
                    target = self._link(name, stack[-1], path, links)
                    if target.startswith("/"):
                        _close_to(stack, 1)
                    names.extend(_components(target))
            return stack.pop()
        finally:
            _close_to(stack, 0)

    @staticmethod
    def _link(name: str, fd: int, path: str, links: int) -> str:
        if links > _MAX_LINKS:
            raise UnpackError(f"unpack: {path!r}: too many symbolic links")
        try:
            return os.readlink(name, dir_fd=fd)
        except OSError:
            raise UnpackError(f"unpack: {path!r}: {name!r} is not a directory") from None

    def remove(self, fd: int, name: str) -> None:
        """Delete one entry with all that is below it; a missing one is fine."""
        try:
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        remove_entry(fd, name)
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self.forget_others(fd)

    def forget_others(self, keep: int) -> None:
        """Close the cached descriptors, but not ``keep``, which is in use."""
        for path in [path for path, fd in self._open.items() if fd != keep]:
            os.close(self._open.pop(path))


def clean_path(text: str) -> str:
    """A member's name as a path below the root, without empty or ``.`` components; "" for the root.

    Raises UnpackError for names that lead out of it, as docker does.
    """
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            if not parts:
                raise UnpackError(f"unpack: {text!r}: the name leads out of the container's root")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _components(path: str) -> list[str]:
    """The components of a path, last first, those that mean nothing left out."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _close_to(stack: list[int], length: int) -> None:
    closing: Iterable[int] = stack[length:]
    del stack[length:]
    for fd in closing:
        os.close(fd)
