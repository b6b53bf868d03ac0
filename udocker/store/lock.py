"""A lock that holds across the nodes of a cluster, on any shared file system.

Neither flock nor fcntl is coherent everywhere, and modification times lie behind attribute caches; what
does hold is that link(2) of one name succeeds for one caller.  So a lock is a directory of numbered
generations: who links the next number holds the lock.  Nothing that is in use is ever unlinked or
renamed, which is where locks of a single file go wrong: of two nodes that both find a stale lock, the second
would remove the first one's new lock.

::

    <key>/g7             the holder: who it is (JSON)
    <key>/g7.beat        a count that the holder raises; others read its content, never its time
    <key>/g7.released    made by the holder at its end: its outcome (JSON)

Where a file system has no hard links the number is taken by open(2) with O_EXCL instead, which one caller
wins as well; only the holder's name then comes after the number, and a holder killed between the two is
known by its missing beat alone.

A holder whose process is known to be dead (same node), or whose count has stood still for
``stale`` seconds by the waiter's own clock (other nodes), is succeeded by the next generation.  A holder
that was only suspended may wake up beside its successor; therefore the lock saves work and nothing else:
what is made under it is published by an atomic rename, which is safe without any lock.

Clients of such file systems remember for up to a minute that there was no file of a name.  Therefore
nobody opens one of these files before a list of the directory has it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Optional

from udocker.errors import StoreLocked, from_os_error
from udocker.log import Log
from udocker.store.generations import Watch, is_free, names_in, newest_of, released
from udocker.store.paths import StorePaths
from udocker.store.timing import LockTiming as LockTiming
from udocker.system.files import discard_leftovers, remove_tree, unique_name, write_atomically
from udocker.system.process import ProcessIdentity
from udocker.values import dataclass

_POLL_FIRST, _POLL_LAST = 0.02, 1.0
# What link(2) and the file systems behind it say where there are no hard links: FAT, some FUSE file systems,
# SMB, and AFS across directories.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)

_log = Log(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a generation ended: ``error`` is its failure's message and hint, empty for success."""

    generation: int
    error: str = ""
    hint: str = ""


class Holding:
    """The lock while it is held.  A thread raises the count until ``release``."""

    def __init__(self, directory: Path, generation: int, mode: int, beat: float) -> None:
        self.generation = generation
        self._path = directory / f"g{generation}"
        self._mode = mode
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beats, args=(beat,), daemon=True)
        self._thread.start()

    def _beats(self, interval: float) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            try:
                _write_count(self._path.with_suffix(".beat"), count, self._mode, new=count == 1)
            except OSError:
                # A full disk or a lost mount: others see no beat and take over, which is right then.
                pass
            self._stop.wait(interval)

    def release(self, error: str = "", hint: str = "") -> None:
        """End the generation and tell those who wait how."""
        self._end()
        content = json.dumps({"error": error, "hint": hint}).encode()
        ended = self._path.with_suffix(".released")
        try:
            write_atomically(ended, content, self._mode)
        except OSError as failure:
            if failure.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            # A name may fit where its content does not; those who wait then try for themselves.
            os.close(os.open(ended, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, self._mode))

    def dissolve(self, tmp: Path) -> None:
        """End the generation and remove the lock, which is as free as one that nobody ever held.

        For locks whose outcome nobody asks for, so that they do not pile up.  The directory goes in one step,
        by way of ``tmp``; a waiter that is about to claim the next generation in it makes it anew.
        """
        self._end()
        aside = tmp / unique_name("lock-")
        try:
            if newest(self._path.parent) > self.generation:
                # A successor took this holder for dead, or is about to see that it did so wrongly.
                write_atomically(self._path.with_suffix(".released"), b"{}", self._mode)
                return
            os.rename(self._path.parent, aside)
            remove_tree(aside)
        except OSError:
            pass  # it stays like a dead holder's, and is taken over like one

    def _end(self) -> None:
        self._stop.set()
        self._thread.join()


class SharedLock:
    """The lock of one ``key`` (a file name) in a store."""

    def __init__(self, paths: StorePaths, key: str, timing: LockTiming) -> None:
        self._directory = paths.locks / key
        self._paths = paths
        self._timing = timing

    @contextmanager
    def passing(self, ready: Optional[Callable[[], bool]] = None) -> Iterator[bool]:
        """Hold the lock for the block and leave nothing of it behind; how the block ended is not told.

        Yields False, without the lock, as soon as ``ready()`` says that there is no need any more.  Raises
        as ``acquire``.
        """
        if ready is not None and ready():
            yield False
            return
        holding = self.acquire(ready)
        try:
            yield holding is not None
        finally:
            if holding is not None:
                holding.dissolve(self._paths.scratch)

    @contextmanager
    def held(self) -> Iterator[Holding]:
        """Wait for the lock, hold it for the block; an exception of the block is its outcome.

        Raises StoreLocked after ``timing.wait`` seconds.
        """
        holding = self.acquire()
        assert holding is not None  # only a ``ready`` ends the wait without the lock
        try:
            yield holding
        except Exception as error:
            holding.release(str(getattr(error, "message", error)), str(getattr(error, "hint", "")))
            raise
        else:
            holding.release()

    def acquire(self, ready: Optional[Callable[[], bool]] = None) -> Optional[Holding]:
        """Take the lock, or return None as soon as ``ready()`` says that there is no need any more.

        Raises StoreLocked after ``timing.wait`` seconds, and StoreError where the directory cannot
        be written.
        """
        try:
            self._paths.make(self._paths.scratch)
            self._paths.make(self._directory)
            return self._wait(ready)
        except OSError as error:
            raise from_os_error("lock", error, str(self._directory)) from error

    def outcome(self, generation: int) -> Optional[Outcome]:
        """How a generation ended; None while it is held, and for one that died or was cleared away."""
        if released(generation) not in names_in(self._directory):
            return None
        try:
            document = json.loads((self._directory / f"g{generation}.released").read_bytes() or b"{}")
        except FileNotFoundError:
            return None
        return Outcome(generation, str(document.get("error", "")), str(document.get("hint", "")))

    def is_held(self) -> bool:
        """Whether a living process holds the lock; waits up to ``timing.stale`` seconds for its beat."""
        watch = Watch(self._directory, self._timing.stale)
        while True:
            names = names_in(self._directory)
            generation = newest_of(names)
            if is_free(names) or watch.is_dead(generation, names):
                return False
            if watch.lives(generation):
                return True
            time.sleep(min(self._timing.beat, _POLL_LAST))

    def newest(self) -> int:
        """The highest generation, 0 before the first."""
        return newest(self._directory)

    def _wait(self, ready: Optional[Callable[[], bool]]) -> Optional[Holding]:
        deadline = time.monotonic() + self._timing.wait
        watch = Watch(self._directory, self._timing.stale)
        pause = _POLL_FIRST
        while True:
            if ready is not None and ready():
                self._leave()
                return None
            names = names_in(self._directory)
            generation = newest_of(names)
            free = is_free(names) or watch.is_dead(generation, names)
            if free and self._try_claim(generation + 1, watch):
                return Holding(self._directory, generation + 1, self._paths.file_mode, self._timing.beat)
            if time.monotonic() > deadline:
                raise StoreLocked(
                    f"lock: {self._directory}: still held by {watch.describe(generation)}",
                    "wait for it, or end it; a dead holder is succeeded by itself",
                )
            time.sleep(pause)
            pause = min(pause * 1.5, _POLL_LAST)

    def _leave(self) -> None:
        """Take away a directory in which there is no lock: whoever is about to take it makes it anew."""
        try:
            os.rmdir(self._directory)
        except OSError:
            pass  # a lock is in it, or it is gone

    def _try_claim(self, generation: int, watch: Watch) -> bool:
        try:
            return self._claim(generation, watch)
        except FileNotFoundError:
            # The holder before has dissolved the lock under our hands.
            self._paths.make(self._directory)
            return False

    def _claim(self, generation: int, watch: Watch) -> bool:
        """Link the generation's name; the one caller for whom that succeeds holds the lock."""
        name = self._directory / f"g{generation}"
        if not self._take(name):
            return False  # somebody was faster
        names = names_in(self._directory)
        if newest_of(names) > generation:
            return False  # our list of the directory was old, and the number had been cleared away
        if generation > 1 and not watch.has_ended(generation - 1, names):
            # Dissolved meanwhile: the new lock counts from one, and perhaps somebody holds it already.
            name.unlink(missing_ok=True)
            return False
        self._clear(generation)
        return True

    def _take(self, name: Path) -> bool:
        """Make the generation's name with our identity in it, as one step; whether it was free."""
        content = json.dumps(ProcessIdentity.current().to_json()).encode()
        own = self._directory / unique_name(".claim-")
        write_atomically(own, content, self._paths.file_mode)
        try:
            os.link(own, name)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _log.debug("lock: %s: no hard links (%s): taken by O_EXCL", name, error.strerror)
            return _take_exclusively(name, content, self._paths.file_mode)
        finally:
            own.unlink(missing_ok=True)
        return True

    def _clear(self, generation: int) -> None:
        """Drop what generations before the last one left, and claims of the dead."""
        for name in os.listdir(self._directory):
            match = re.match(r"g(\d+)", name)
            if match and int(match[1]) < generation - 1:
                (self._directory / name).unlink(missing_ok=True)
        discard_leftovers(self._directory)


def newest(directory: Path) -> int:
    """The highest generation of the lock in a directory, 0 before the first."""
    return newest_of(names_in(directory))


def lock_method(directory: Path) -> str:
    """How locks are taken in the file system of a directory: ``link``, ``O_EXCL``; ``none`` if not writable.

    Tried with two files that are gone afterwards.
    """
    first, second = directory / unique_name("probe-"), directory / unique_name("probe-")
    try:
        first.touch(exist_ok=False)
        os.link(first, second)
    except OSError as error:
        return "O_EXCL" if first.exists() and error.errno in _NO_LINKS else "none"
    finally:
        for path in (first, second):
            if os.path.lexists(path):
                path.unlink()
    return "link"


def _take_exclusively(name: Path, content: bytes, mode: int) -> bool:
    """As link(2) would, where there is none; exclusive creation holds on NFS since version 3 (open(2))."""
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        return False
    with os.fdopen(fd, "wb") as stream:
        os.fchmod(fd, mode)
        stream.write(content)
        stream.flush()
        os.fsync(fd)
    return True


def _write_count(path: Path, count: int, mode: int, new: bool) -> None:
    """Overwrite in place: one block of a fixed size, so that a full disk does not stop it.

    A ``new`` file appears with its content: its size is what other nodes will believe for a while.
    """
    content = b"%020d\n" % count
    if new:
        write_atomically(path, content, mode)
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, mode)
    try:
        os.fchmod(fd, mode)  # open(2) heeds the umask
        os.pwrite(fd, content, 0)
        os.fsync(fd)
    finally:
        os.close(fd)
