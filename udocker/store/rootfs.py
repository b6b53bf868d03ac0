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
from typing import Optional

from udocker.errors import UnpackError
from udocker.store.limits import Limits, beyond
from udocker.system.files import remove_entry

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # as the kernel's own limit, path_resolution(7)
_CACHED = 128
_SHOWN = 200
# What a path need not have, and what leads up; "." and ".." are no names for entries.
_EMPTY, _HERE, _ABOVE = b"", b".", b".."


class RootTree:
    """Directories of a root by descriptor.  Close it, or use it in a ``with`` block."""

    def __init__(self, root: str, limits: Optional[Limits] = None) -> None:
        self._root = os.open(root, _DIRECTORY)
        self.limits = limits or Limits()
        # A path as archives have it, to its descriptor and depth; the least recently used go first.
        self._open: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def __enter__(self) -> RootTree:
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()
        os.close(self._root)

    def forget(self) -> None:
        """Close every cached descriptor: needed when a directory or a link was removed."""
        while self._open:
            os.close(self._open.popitem()[1][0])

    def directory(self, path: bytes, create: bool = False) -> int:
        """The descriptor of the directory ``path``, as ``clean_path`` returns it.

        Missing directories are made where ``create`` is set.  The descriptor belongs to the tree and
        is good until the next call.  Raises UnpackError, FileNotFoundError, NotADirectoryError.
        """
        if not path:
            return self._root
        known = self._open.get(path)
        if known is not None:
            self._open.move_to_end(path)
            return known[0]
        found = self._next_to_known(path) or self._walk(path, create)
        self._open[path] = found
        while len(self._open) > _CACHED:
            os.close(self._open.popitem(last=False)[1][0])
        return found[0]

    def _next_to_known(self, path: bytes) -> Optional[tuple[int, int]]:
        """Open a directory from the one that it lies in, where that is known and it is no link."""
        above, _, name = path.rpartition(b"/")
        known = self._open.get(above) if above else (self._root, 0)
        if known is None or known[1] >= self.limits.depth:
            return None
        try:
            return os.open(name, _DIRECTORY, dir_fd=known[0]), known[1] + 1
        except OSError:
            return None  # the whole walk finds out why

    def _walk(self, path: bytes, create: bool) -> tuple[int, int]:
        """Open ``path`` from the root on; ``names`` are the components still to come, last first."""
        stack = [os.dup(self._root)]
        names = _components(path)
        links = 0
        try:
            while names:
                name = names.pop()
                if name == _ABOVE:
                    if len(stack) > 1:
                        os.close(stack.pop())
                    continue
                if len(stack) > self.limits.depth:
                    raise too_deep(path, self.limits)
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
                    if target.startswith(b"/"):
                        _close_to(stack, 1)
                    names.extend(_components(target))
            return stack.pop(), len(stack)
        finally:
            _close_to(stack, 0)

    @staticmethod
    def _link(name: bytes, fd: int, path: bytes, links: int) -> bytes:
        if links > _MAX_LINKS:
            raise UnpackError(f"unpack: {shown(path)}: too many symbolic links")
        try:
            return os.readlink(name, dir_fd=fd)
        except OSError:
            raise UnpackError(f"unpack: {shown(path)}: {shown(name)} is not a directory") from None

    def remove(self, fd: int, name: bytes) -> None:
        """Delete one entry with all that is below it; a missing one is fine."""
        try:
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        remove_entry(fd, os.fsdecode(name))
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self.forget_others(fd)

    def forget_others(self, keep: int) -> None:
        """Close the cached descriptors, but not ``keep``, which is in use."""
        for path in [path for path, known in self._open.items() if known[0] != keep]:
            os.close(self._open.pop(path)[0])


def clean_path(name: bytes, limits: Limits) -> bytes:
    """A member's name as a path below the root, without empty or ``.`` components; empty for the root.

    Raises UnpackError for names that lead out of it, as docker does, or lie too deep.
    """
    parts = name.split(b"/")
    if _EMPTY in parts or _HERE in parts or _ABOVE in parts:
        kept: list[bytes] = []
        for part in parts:
            if part == _ABOVE:
                if not kept:
                    raise UnpackError(f"unpack: {shown(name)}: the name leads out of the container's root")
                kept.pop()
            elif part not in (_EMPTY, _HERE):
                kept.append(part)
        parts = kept
    if len(parts) > limits.depth:
        raise too_deep(name, limits)
    if len(name) > limits.name:
        raise beyond(f"{shown(name)}: a name of {len(name)} bytes", "NAME")
    return b"/".join(parts)


def too_deep(path: bytes, limits: Limits) -> UnpackError:
    """The error for a tree that is deeper than it may be."""
    return beyond(f"{shown(path)}: more than {limits.depth} directories deep", "DEPTH")


def shown(name: bytes) -> str:
    """A name for a message: short, and one line whatever it holds."""
    text = repr(os.fsdecode(name[:_SHOWN]))
    return text if len(name) <= _SHOWN else f"{text}…"


def _components(path: bytes) -> list[bytes]:
    """The components of a path, last first, those that mean nothing left out."""
    return [part for part in reversed(path.split(b"/")) if part not in (_EMPTY, _HERE)]


def _close_to(stack: list[int], length: int) -> None:
    closing: Iterable[int] = stack[length:]
    del stack[length:]
    for fd in closing:
        os.close(fd)
