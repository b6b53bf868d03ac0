"""How to run a program so that no descendant of it is left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from udocker.api import TYPE_CHECKING, dataclass

from .identity import Stat, all_pids, descendants

if TYPE_CHECKING:
    from typing import IO, Optional, Union

    Files = Union[None, int, IO[bytes]]

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)

# What batch systems and terminals send to make a program end, save its state or go on.
FORWARDED = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGCONT,
    }
)

KILL_PATIENCE = 10.0  # seconds for the kernel to end what was killed; longer means an uninterruptible wait


@dataclass(frozen=True)
class Transferred:
    """The four totals of /proc/PID/io in bytes (proc(5)): by calls, and to and from storage."""

    read: int
    written: int
    storage_read: int
    storage_written: int

    def less(self, other: Transferred) -> Transferred:
        """The difference, never below zero."""
        return Transferred(
            max(0, self.read - other.read),
            max(0, self.written - other.written),
            max(0, self.storage_read - other.storage_read),
            max(0, self.storage_written - other.storage_written),
        )


@dataclass(frozen=True)
class Reaped:
    """A process that has ended; ``usage`` includes the children that it waited for."""

    pid: int
    status: int
    usage: resource.struct_rusage


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(number)}")


@contextlib.contextmanager
def held_signals(signals: Collection[signal.Signals]) -> Iterator[frozenset[int]]:
    """Keep ``signals`` and SIGCHLD pending for sigwait; yields the mask from before, for programs to start.

    SIGCHLD gets its default action meanwhile: a process that ignores it has its children reaped by the
    kernel, and their times are lost (wait(2), NOTES).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*signals, signal.SIGCHLD})
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield frozenset(before)
    finally:
        if handler is not None:  # None: not installed from Python, and not to be had
            signal.signal(signal.SIGCHLD, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: Optional[str],
    mask: Collection[int],
    *,
    own_group: bool = False,
    stdin: Files = None,
    stdout: Files = None,
    stderr: Files = None,
) -> int:
    """Start a program with the signal mask ``mask``; returns its pid, to be reaped by ``reap``.

    With ``own_group`` it leads a process group, still in this process's session.  Raises OSError as
    execve(2) and chdir(2) do.  File descriptors that are marked to survive an exec do:
    MPI's process managers hand theirs down by number.
    """

    def unhold() -> None:
        for number in FORWARDED:
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        if own_group:
            os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    process = subprocess.Popen(
        argv,
        env=env,
        cwd=cwd,
        preexec_fn=unhold,
        close_fds=False,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )
    process.returncode = 0  # keeps Popen from waiting for a process that is reaped elsewhere
    return process.pid


def reap() -> Iterator[Reaped]:
    """Every child that has ended by now.  Whatever this process started itself is among them."""
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield Reaped(pid, status, usage)


def transferred_by_thread() -> Optional[Transferred]:
    """What the calling thread itself has read and written; None where the kernel does not count it."""
    return _transferred("thread-self")


def transferred_by_reaped() -> Optional[Transferred]:
    """What every child waited for so far had read and written, and its own such children, and so on.

    Also holds the totals of threads of this process that have ended.  Call it from the only one left.
    """
    # The kernel adds a child's totals to those of the process that waits for it, but not to a thread's
    # (wait_task_zombie() in kernel/exit.c).  A zombie's own /proc/PID/io is root's and closed to its user.
    everything, thread = _transferred("self"), transferred_by_thread()
    return everything.less(thread) if everything and thread else None


def has_children() -> bool:
    """Whether any child is left, running or not; for an adopter of orphans, any descendant."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def end_family(collect: Callable[[], None], grace: float) -> bool:
    """End every descendant: SIGTERM, after ``grace`` seconds SIGKILL; False if some outlive even that.

    ``collect`` is called to reap.  Call with SIGCHLD held.
    """
    told: set[int] = set()
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, KILL_PATIENCE)):
        deadline = time.monotonic() + seconds
        collect()
        while has_children() and time.monotonic() < deadline:
            _tell_family(number, told)
            signal.sigtimedwait({signal.SIGCHLD}, 0.05)
            collect()
    return not has_children()


def end_session(leader: int) -> None:
    """Kill what is left of the session of a process that has ended.

    The kernel gives no new process the number of a session that still has members, so whoever is in it
    belonged to the leader.
    """
    deadline = time.monotonic() + KILL_PATIENCE
    while time.monotonic() < deadline:
        members = [pid for pid in all_pids() if _session(pid) == leader]
        if not members or leader in members:
            return
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # ended, or not ours to end
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def exit_status(status: int) -> int:
    """A wait status as shells tell it: the program's own, or 128 + signal."""
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)


def _tell_family(number: signal.Signals, told: set[int]) -> None:
    for pid in descendants(os.getpid()):
        if number is signal.SIGTERM and pid in told:
            continue
        told.add(pid)
        # Ended meanwhile, or of another user (a setuid program), which only root could end.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)  # a stopped process acts on SIGTERM only when it goes on


def _session(pid: int) -> int:
    stat = Stat.of(pid)
    if stat is None or stat.has_ended:
        return -1
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return -1


def _transferred(who: str) -> Optional[Transferred]:
    try:
        with open(f"/proc/{who}/io", encoding="ascii") as file:
            text = file.read()
    except OSError:
        return None  # a kernel without CONFIG_TASK_IO_ACCOUNTING
    values = {name: int(value) for name, value in (line.split(":") for line in text.splitlines())}
    return Transferred(values["rchar"], values["wchar"], values["read_bytes"], values["write_bytes"])
