"""Copies of containers on a node: a store on the node's disk, bounded, shared by the user's tasks there.

::

    <directory>/udocker-stage-<uid>/<host>.<boot>/    a store
        containers/<id>/                              the copies
        use/<id>                                      locked (flock(2)) by all who use the copy or make it
        use/<id>.size                                 the bytes that it takes, or that are kept free for it

The lock is on a descriptor that the task's program inherits: the kernel drops it when the last of them has
ended, however they did.  What nobody has locked can be removed at any time, half made or whole; who comes
next makes it again.  What an earlier boot of the node has left is removed, for a crash may have damaged it.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from udocker import api

from .errors import BatchError
from .identity import boot_id

_LOG = logging.getLogger(__name__)
_ID = re.compile(r"[0-9a-f-]{36}")
# Of the disk's free space so much is left to others where no bound is set.
_LEFT_FREE = 0.1
_HINT = "set UDOCKER_NODE_DIR to a directory on the node's own disk"
_PLACES = ("SLURM_TMPDIR", "TMPDIR")
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Copy:
    """One container's copy: ``size`` in bytes, ``used`` when somebody last began or ended to use it."""

    container: str
    size: int
    used: float


@dataclass(frozen=True)
class Lease:
    """The right to use a copy, until it is closed and every program that inherited it has ended."""

    fd: int

    def close(self) -> None:
        """Give it back; the copy was used until now."""
        try:
            os.utime(self.fd)
        except OSError as error:
            _LOG.debug("stage: %s: counts as used since it was leased", error)
        finally:
            os.close(self.fd)


def node_place(config: api.Config, environ: Mapping[str, str]) -> Path:
    """The directory for what jobs leave on this node: the one that is set, or the job's temporary one."""
    if config.node_dir:
        return Path(config.node_dir)
    named = [environ.get(name, "") for name in _PLACES]
    usable = (place for place in named if place.startswith("/") and os.access(place, os.W_OK | os.X_OK))
    return Path(next(usable, "/tmp"))


def gate_of(config: api.Config, environ: Mapping[str, str], name: str) -> Optional[Path]:
    """A file at which tasks of a node wait for one of them; None where it has no directory for that, so that
    all have to ask the shared file system."""
    node = NodeStore(config, node_place(config, environ))
    try:
        node.create()
    except api.UdockerError as error:
        _LOG.debug("%s", error)
        return None
    return node.gate(name)


class NodeStore:
    """The store of this user on this node.  Raises StoreError, and BatchError where it is not safe to use."""

    def __init__(self, config: api.Config, place: Path) -> None:
        self._place = place / f"udocker-stage-{os.geteuid()}"
        self._limit = config.node_max
        self._host = f"{os.uname().nodename}."
        directory = self._place / f"{self._host}{boot_id()}"
        self.config = replace(config, udocker_dir=str(directory), lower=(), workspace="")
        self._use = directory / "use"

    @property
    def directory(self) -> Path:
        """The store."""
        return self._use.parent

    def create(self) -> None:
        """Make it where it is missing, and remove those of the node's earlier boots."""
        try:
            self._place.mkdir(mode=0o700, exist_ok=True)
            self._check()
            # By host: where the directory is no node's own after all, those of others are in use.
            for path in self._place.glob(f"{self._host}*"):
                if path != self.directory and "." not in path.name[len(self._host) :]:
                    api.discard(path)
            self.directory.mkdir(mode=0o700, exist_ok=True)
            self._use.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise self._failed(error, self._place) from error

    def exists(self) -> bool:
        """Whether there is one; what is there under its name must be this user's alone."""
        try:
            self._check()
            return self._use.is_dir()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._failed(error, self._place) from error

    def _failed(self, error: OSError, path: Path) -> api.StoreError:
        if error.errno in _FULL:
            return api.StoreError(f"{self._no_room}: {error.strerror}", _HINT)
        return api.StoreError(f"stage: {path}: {error.strerror or error}", _HINT)

    @property
    def _no_room(self) -> str:
        """How all messages begin that tell of a node that has no room."""
        return f"stage: {self._place}: no room"

    def is_named_by(self, error: api.StoreNoSpace) -> bool:
        """Whether the error tells of a file of this store."""
        return str(self._place) in error.message

    def full(self, error: api.StoreNoSpace) -> api.UdockerError:
        """The same of an error that was met in this store, so that ``is_full`` knows it."""
        return BatchError(f"{self._no_room}: {error.message}", error.hint)

    def is_full(self, error: api.UdockerError) -> bool:
        """Whether it tells that this store has no room for a copy; who has waited for another process knows
        its words alone."""
        return error.message.startswith(self._no_room)

    def _check(self) -> None:
        info = self._place.lstat()
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o077:
            raise BatchError(f"stage: {self._place}: is not a directory of this user alone", _HINT)

    def gate(self, name: str) -> Path:
        """A file at which processes of this node wait for each other."""
        return self._use / f"{name}.gate"

    def lease(self, container: str) -> Lease:
        """Keep a copy, present or to be made, from being removed; waits for a removal that goes on."""
        path = self._use / container
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH)
                os.utime(fd)
                os.set_inheritable(fd, True)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise self._failed(error, path) from error
        return Lease(fd)

    def copies(self) -> list[Copy]:
        """Every copy, half made or whole, the one first that has not been used for the longest time."""
        found = []
        try:
            names = [entry.name for entry in os.scandir(self._use) if _ID.fullmatch(entry.name)]
            for name in names:
                used = (self._use / name).stat().st_mtime
                size = self._size(name)
                if size is not None:
                    found.append(Copy(name, size, used))
        except OSError as error:
            raise self._failed(error, self._use) from error
        return sorted(found, key=lambda copy: copy.used)

    def _size(self, container: str) -> Optional[int]:
        """What is written down, or what is there; None where nothing is."""
        try:
            return int((self._use / f"{container}.size").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            pass  # killed before it was written
        if not self._parts(container):
            return None
        return sum(map(api.tree_size, self._parts(container)))

    def _parts(self, container: str) -> list[Path]:
        paths = [self.directory / "containers" / container, *(self.directory / "tmp").glob(f"*{container}*")]
        return [path for path in paths if os.path.lexists(path)]

    def require_executable(self) -> None:
        """Raises BatchError where no program can be run from the directory."""
        if os.statvfs(self.directory).f_flag & os.ST_NOEXEC:
            raise BatchError(f"stage: {self._place}: is mounted noexec, so that nothing can run there", _HINT)

    def make_room(self, container: str, size: int, guessed: bool = False) -> None:
        """See to it that ``size`` bytes more fit, and keep them for a copy that the caller has leased.

        Copies that nobody uses go, those first that have not been used for the longest time.  Raises
        BatchError where that is not enough, unless the size is only ``guessed``.
        """
        try:
            with self._alone():
                copies = [copy for copy in self.copies() if copy.container != container]
                limit = self._limit or self._fitting(copies)
                total = sum(copy.size for copy in copies)
                for copy in copies:
                    if total + size <= limit:
                        break
                    if self.evict(copy.container):
                        total -= copy.size
                if total + size > limit and not guessed:
                    raise BatchError(
                        f"{self._no_room} for {size >> 20} MiB: {limit >> 20} MiB may be used,"
                        f" and {total >> 20} MiB are in use",
                        "use --stage=shared, or set UDOCKER_NODE_MAX or UDOCKER_NODE_DIR for more",
                    )
                (self._use / f"{container}.size").write_text(str(size), encoding="ascii")
        except OSError as error:
            raise self._failed(error, self._place) from error

    def _fitting(self, copies: list[Copy]) -> int:
        """What copies may take where no bound is set: what they have, and most of what is free."""
        free = os.statvfs(self.directory)
        here = sum(api.tree_size(path) for copy in copies for path in self._parts(copy.container))
        return int(here + free.f_bavail * free.f_frsize * (1 - _LEFT_FREE))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fd = os.open(self._use / ".room", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def evict(self, container: str) -> bool:
        """Remove a copy, and what the dead have left of it, unless somebody uses it: whether it is gone.

        Raises StoreError.
        """
        path = self._use / container
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return False
            try:
                api.remove_container(self.config, container)
                for part in self._parts(container):
                    api.remove_tree(part)
                (self._use / f"{container}.size").unlink(missing_ok=True)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._failed(error, path) from error
        return True

    def sweep(self, unused: float) -> list[Copy]:
        """Remove the copies that nobody has used for so many seconds, and nobody uses now: which."""
        before = time.time() - unused
        return [copy for copy in self.copies() if copy.used <= before and self.evict(copy.container)]
