"""Cores of this host, shared by all local jobs of a store.

A core is a file, and using it is a lock on that file (flock(2)).  The kernel gives a lock back when the
last process that holds it dies, by whatever signal, so a slot cannot leak.  Locks of this kind may mean
nothing between nodes, but a slot is of one host, and only processes of that host compete for it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
from pathlib import Path
from typing import Optional

from udocker.api import make_store_directory

from ..files import store_error


class Slots:
    """The cores that this process may run on."""

    def __init__(self, udocker_dir: Path, root: Path) -> None:
        self._udocker_dir = udocker_dir
        host = re.sub(r"[^A-Za-z0-9._-]", "_", socket.gethostname())
        self._folder = root / "slots" / f"_{host}" if host.startswith(".") else root / "slots" / host
        self.count = len(os.sched_getaffinity(0))

    def take(self, cores: int) -> Optional[list[int]]:
        """File descriptors that hold ``cores`` slots until they are closed, or None if not so many are free.

        Raises StoreError where the file system has no flock.
        """
        held: list[int] = []
        try:
            make_store_directory(self._udocker_dir, self._folder)
            mode = self._udocker_dir.stat().st_mode & 0o666 | 0o600  # its maker may always write
            for core in range(self.count):
                if len(held) == cores:
                    break
                descriptor = lock(self._folder / str(core), mode)
                if descriptor is not None:
                    held.append(descriptor)
        except OSError as error:
            release(held)
            raise store_error("lock a core", error, self._folder) from error
        if len(held) < cores:
            release(held)
            return None
        return held


def lock(path: Path, mode: int = 0o600) -> Optional[int]:
    """A file descriptor that holds the lock on ``path``, or None if another process does.

    A file that is missing is made with the permissions ``mode``, whatever the umask.
    """
    try:
        descriptor = _opened(path, mode)
    except PermissionError:
        os.chmod(path, mode)  # who may not do that has no right to the file
        descriptor = _opened(path, mode)
    try:
        status = os.fstat(descriptor)
        if status.st_uid == os.getuid() and status.st_mode & 0o777 != mode:
            os.fchmod(descriptor, mode)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.EWOULDBLOCK:
            return None
        raise
    return descriptor


def _opened(path: Path, mode: int) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)


def release(held: list[int]) -> None:
    """Close what ``take`` gave."""
    for descriptor in held:
        os.close(descriptor)
