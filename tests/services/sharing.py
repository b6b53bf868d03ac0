"""Things on this machine that several test runs may use at once, or that a killed one left behind.

The kernel drops a flock when its holder ends, however it ends: whatever nobody holds is a leftover.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable

from udocker.system.files import remove_tree

VAR_TMP = Path("/var/tmp")  # kept over a boot, and shared by the nodes of the test cluster


def cache_directory() -> Path:
    """This user's directory for what outlives a test run; everybody may read it."""
    path = VAR_TMP / f"udocker-test-{os.geteuid()}"
    path.mkdir(mode=0o755, exist_ok=True)
    status = path.lstat()
    # Anybody can create names in /var/tmp: another user's directory or link here is a trap.
    if path.is_symlink() or status.st_uid != os.geteuid():
        raise PermissionError(f"{path}: belongs to user {status.st_uid}")
    path.chmod(0o755)
    return path


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Only one process of this user is in here for ``name``; the others wait."""
    with (cache_directory() / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def shared(name: str, set_up: Callable[[], None], tear_down: Callable[[], None]) -> Iterator[None]:
    """Use ``name`` together with other runs: the first one sets it up, the last one tears it down."""
    with (cache_directory() / f"{name}.use").open("a") as lock:
        if _try_lock(lock.fileno()):
            set_up()
        fcntl.flock(lock, fcntl.LOCK_SH)  # waits for a run that is setting up
        try:
            yield
        finally:
            if _try_lock(lock.fileno()):
                tear_down()


@contextmanager
def session_directory(kind: str, mode: int = 0o755) -> Iterator[Path]:
    """A new ``/var/tmp/udocker-test-KIND-XXXX`` for this run; those of killed runs are removed."""
    prefix = f"udocker-test-{kind}-"
    with exclusive("directories"):  # one that is made, and not locked yet, looks like one of a killed run
        for leftover in VAR_TMP.glob(f"{prefix}*"):
            with suppress(FileNotFoundError):  # its own run removes it just now
                if leftover.lstat().st_uid == os.geteuid():
                    _remove_unused(leftover)
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=VAR_TMP))
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    try:
        path.chmod(mode)
        yield path
    finally:
        remove_tree(path)  # tests leave directories without permissions
        os.close(descriptor)


def _remove_unused(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if _try_lock(descriptor):
            remove_tree(path)
    finally:
        os.close(descriptor)
