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
from typing import Callable, NamedTuple, Optional

from udocker.errors import UnpackError
from udocker.store.limits import Limits, beyond
from udocker.system.files import remove_entry

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # as the kernel's own limit, path_resolution(7)
_CACHED = 128
_SHOWN = 200
# What a path need not have, and what leads up; "." and ".." are no names for entries.
_EMPTY, _HERE, _ABOVE = b"", b".", b".."


class _Opened(NamedTuple):
    """A directory that is open; ``direct`` says that no link led there."""

    fd: int
    depth: int
    direct: bool


def nothing_to_settle() -> None:
    """What a tree calls that only one process writes to."""


class RootTree:
    """Directories of a root by descriptor.  Close it, or use it in a ``with`` block."""

    def __init__(self, root: str, limits: Optional[Limits] = None) -> None:
        self._root = os.open(root, _DIRECTORY)
        self.limits = limits or Limits()
        # A path as archives have it, to its directory; the least recently used go first.
        self._open: OrderedDict[bytes, _Opened] = OrderedDict()
        # Called before an entry is removed, or a directory made that nobody asked for by itself.
        self.settle: Callable[[], None] = nothing_to_settle
        # Counts the removals after which a path may lead elsewhere.
        self.generation = 0

    def __enter__(self) -> RootTree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every descriptor."""
        self.forget()
        os.close(self._root)

    def forget(self) -> None:
        """Close every cached descriptor: needed when a directory or a link was removed."""
        while self._open:
            os.close(self._open.popitem()[1].fd)

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
            return known.fd
        found = self._next_to_known(path) or self._walk(path, create)
        self._open[path] = found
        while len(self._open) > _CACHED:
            os.close(self._open.popitem(last=False)[1].fd)
        return found.fd

    def is_direct(self, path: bytes) -> bool:
        """Whether the directory that was looked up last is where its path says, without any link."""
        return not path or self._open[path].direct

    def _next_to_known(self, path: bytes) -> Optional[_Opened]:
        """Open a directory from the one that it lies in, where that is known and it is no link."""
        above, _, name = path.rpartition(b"/")
        known = self._open.get(above) if above else _Opened(self._root, 0, True)
        if known is None or known.depth >= self.limits.depth:
            return None
        try:
            return _Opened(os.open(name, _DIRECTORY, dir_fd=known.fd), known.depth + 1, known.direct)
        except OSError:
            return None  # the whole walk finds out why

    def _walk(self, path: bytes, create: bool) -> _Opened:
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
                    self.settle()
                    _make_directory(name, stack[-1])
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
            return _Opened(stack.pop(), len(stack), links == 0)
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
        self.settle()
        remove_entry(fd, os.fsdecode(name))
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self.forget_others(fd)

    def forget_others(self, keep: int) -> None:
        """Close the cached descriptors, but not ``keep``, which is in use."""
        self.generation += 1
        for path in [path for path, known in self._open.items() if known.fd != keep]:
            os.close(self._open.pop(path).fd)


def clean_path(name: bytes, limits: Limits) -> bytes:
    """A member's name as a path below the root, without empty or ``.`` components; empty for the root.

    Raises UnpackError for names that lead out of it, as docker does, or lie too deep.
    """
    path = name[2:] if name.startswith(b"./") else name  # as tar writes what it was told to find in "."
    parts = path.split(b"/")
    if _EMPTY in parts or _HERE in parts or _ABOVE in parts:
        kept: list[bytes] = []
        for part in parts:
            if part == _ABOVE:
                if not kept:
                    raise UnpackError(f"unpack: {shown(name)}: the name leads out of the container's root")
                kept.pop()
            elif part not in (_EMPTY, _HERE):
                kept.append(part)
        parts, path = kept, b"/".join(kept)
    if len(parts) > limits.depth:
        raise too_deep(name, limits)
    if len(name) > limits.name:
        raise beyond(f"{shown(name)}: a name of {len(name)} bytes", "NAME")
    return path


def too_deep(path: bytes, limits: Limits) -> UnpackError:
    """The error for a tree that is deeper than it may be."""
    return beyond(f"{shown(path)}: more than {limits.depth} directories deep", "DEPTH")


def shown(name: bytes) -> str:
    """A name for a message: short, and one line whatever it holds."""
    text = repr(os.fsdecode(name[:_SHOWN]))
    return text if len(name) <= _SHOWN else f"{text}…"


def _make_directory(name: bytes, fd: int) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=fd)
    except FileExistsError:
        return  # something of another kind, perhaps: whoever opens it finds out


def _components(path: bytes) -> list[bytes]:
    """The components of a path, last first, those that mean nothing left out."""
    return [part for part in reversed(path.split(b"/")) if part not in (_EMPTY, _HERE)]


def _close_to(stack: list[int], length: int) -> None:
    closing: Iterable[int] = stack[length:]
    del stack[length:]
    for fd in closing:
        os.close(fd)
