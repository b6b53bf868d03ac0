"""The descendants of this process: none of them outlives the program that they were started by."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36  # prctl(2), from Linux 3.4 on

KILL_PATIENCE = 10.0  # seconds for the kernel to end what was killed; longer means an uninterruptible wait


@contextmanager
def ended_family() -> Iterator[None]:
    """Kill at the block's end what was started in it, however far down and whoever is its parent now.

    Who has children before the block, as a shell that became this process with jobs in the background,
    could not tell theirs from the block's: then nothing is killed.  Raises OSError.
    """
    if _has_children():
        yield
        return
    _adopt_orphans(True)
    try:
        yield
    finally:
        _end_children()
        _adopt_orphans(False)


def _adopt_orphans(adopt: bool) -> None:
    """Whether this process becomes the parent of every descendant whose own parent ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(number)}")


def _end_children() -> None:
    """Kill and reap until no child is left: each one that ends may leave its own to this process."""
    deadline = time.monotonic() + KILL_PATIENCE
    while _has_children() and time.monotonic() < deadline:
        for pid in _children():
            with suppress(ProcessLookupError, PermissionError):  # ended, or of a user whom we cannot end
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # no one is left, which the loop finds out
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        time.sleep(0.005)


def _has_children() -> bool:
    """Whether any child is left, running or not."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _children() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and _parent(name) == os.getpid()]


def _parent(pid: str) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0  # ended meanwhile
    # The command's name is in parentheses and may hold anything, so count from the last one (proc(5)).
    return int(stat[stat.rindex(b")") + 2 :].split()[1])
