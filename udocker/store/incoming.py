"""Blobs on their way into the store: one process fetches, the others wait, and what a dead one had is kept.

::

    tmp/partial/<hex>-<mark>     what has come of a blob; the mark tells which process writes it

Nobody but its maker ever writes a partial file, not even when the lock has two holders for a while (see
``lock.py``).  A file is taken over by renaming it, and only if its maker is known to be dead and no
descriptor of it is left, which flock(2) tells: a thread of a killed process may still be inside write(2).
Where either cannot be known, as for a maker on another node, the content is copied.  Whatever was taken
over is verified with the rest of the blob.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Callable, Optional

from udocker.errors import RegistryError, from_os_error
from udocker.model.digest import Digest
from udocker.model.manifest import Descriptor
from udocker.store.layers import LOCKS, LayerStore
from udocker.store.lock import LockTiming, SharedLock
from udocker.store.paths import StorePaths
from udocker.system.files import is_of_dead, is_own, remove_tree, unique_name
from udocker.values import dataclass

# Brings a blob into a file that may hold a beginning of it; returns only when it matches its descriptor.
FetchInto = Callable[[Descriptor, BinaryIO], None]
# What is less is fetched again; and for how long it may lie there, in seconds.
WORTH_KEEPING = 1 << 20
_KEPT_FOR = 7 * 86400.0
_NAME = re.compile(r"([0-9a-f]{64,128})-")


@dataclass(frozen=True)
class Partial:
    """A file of this process's own for a blob that is coming."""

    path: Path
    file: BinaryIO


class Incoming:
    """Brings blobs into the layer store."""

    def __init__(self, paths: StorePaths, layers: LayerStore, timing: LockTiming) -> None:
        self._paths = paths
        self._layers = layers
        self._timing = timing
        # Not in a workspace: what is there goes away with the job that made it.
        self._directory = paths.partial

    def bring(self, descriptor: Descriptor, fetch: FetchInto, waits: Callable[[], None]) -> bool:
        """Make sure that a blob is in the store; returns whether it had to be fetched.

        ``waits`` is called again and again while another process fetches it; what it raises ends the wait.
        Raises StoreError, StoreLocked, and what ``fetch`` raises.
        """
        if self._layers.has(descriptor):
            return False
        asked = 0

        def is_there() -> bool:
            nonlocal asked
            asked += 1
            if asked > 1:
                waits()
            return self._layers.has(descriptor)

        lock = SharedLock(self._paths, f"{LOCKS}{descriptor.digest.hex}", self._timing)
        holding = lock.acquire(is_there)
        if holding is None:
            return False
        try:
            if self._layers.has(descriptor):
                return False  # it came between the question and the lock
            with self._partial(descriptor.digest) as partial:
                fetch(descriptor, partial.file)
                self._layers.publish(descriptor.digest, partial.path)
        except OSError as error:
            raise from_os_error("store", error, str(self._layers.path(descriptor.digest))) from error
        finally:
            holding.dissolve(self._paths.scratch)
        return True

    def discard_old(self) -> None:
        """Remove what killed pulls left long ago, and what is of no use since the blob came another way."""
        now = time.time()
        for path in self._entries(self._directory):
            match = _NAME.match(path.name)
            useless = match is not None and os.path.exists(self._paths.layers / f"sha256:{match[1]}")
            if _age(path, now) > _KEPT_FOR or (useless and is_of_dead(path.name)):
                _remove(path)
        for path in self._entries(self._paths.locks):
            if path.name.startswith(LOCKS) and _age(path, now) > _KEPT_FOR:
                _remove(path)

    @contextmanager
    def _partial(self, digest: Digest) -> Iterator[Partial]:
        """A file for the blob, with what is there of it; it stays after a failure that may pass."""
        self._paths.make(self._directory)
        own = self._directory / unique_name(f"{digest.hex}-")
        descriptor = self._taken_over(digest, own)
        keep = False
        try:
            with os.fdopen(descriptor, "r+b") as file:
                yield Partial(own, file)
        except RegistryError as failure:
            keep = failure.temporary and _size(own) >= WORTH_KEEPING
            raise
        finally:
            if not keep:
                own.unlink(missing_ok=True)  # published under another name, or of no use

    def _taken_over(self, digest: Digest, own: Path) -> int:
        """A descriptor of the file ``own``, made of the largest beginning that is there."""
        found = [path for path in self._entries(self._directory) if path.name.startswith(f"{digest.hex}-")]
        for path in sorted(found, key=_size, reverse=True):
            free = is_own(path.name) or is_of_dead(path.name)
            descriptor = self._renamed(path, own) if free else None
            if descriptor is not None:
                return descriptor
        descriptor = os.open(own, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, self._paths.file_mode)
        _try_lock(descriptor)  # of no use where there are no locks: then nobody renames it
        if found:
            _copy(max(found, key=_size), descriptor)
        return descriptor

    @staticmethod
    def _renamed(path: Path, own: Path) -> Optional[int]:
        """Take over the file of a process that has died; None where that is not certain."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return None  # another user's, or gone meanwhile
        try:
            if os.fstat(descriptor).st_uid == os.geteuid() and _try_lock(descriptor):
                os.rename(path, own)
                return descriptor
        except FileNotFoundError:
            pass  # somebody else was faster
        os.close(descriptor)
        return None

    @staticmethod
    def _entries(directory: Path) -> list[Path]:
        try:
            return [directory / name for name in os.listdir(directory)]
        except OSError:
            return []  # not there, or not ours to look at


def _remove(path: Path) -> None:
    try:
        remove_tree(path)
    except OSError:
        pass  # another user's, in a store that is shared: left to him


def _copy(path: Path, descriptor: int) -> None:
    """What a file holds now, into a new one that others do not write."""
    try:
        with path.open("rb") as source, os.fdopen(os.dup(descriptor), "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except OSError:
        os.ftruncate(descriptor, 0)  # gone, or not readable: all of the blob is fetched
    os.lseek(descriptor, 0, os.SEEK_SET)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # somebody has it, or the file system has no locks
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1  # gone meanwhile


def _age(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except OSError:
        return 0.0  # gone meanwhile
