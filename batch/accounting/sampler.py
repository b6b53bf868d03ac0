"""Run a program and measure what it and all its descendants use.

CPU time is exact, not sampled: this process adopts every orphan below it (prctl(2),
PR_SET_CHILD_SUBREAPER), so that each descendant is waited for either by its own parent, and is then part
of that parent's totals, or here.  The sum over what is reaped here is the CPU time of them all, however
short-lived or detached.  Read and written bytes are the kernel's sums over the same processes, less what
this process did itself; they are off by the some hundred bytes of asking.

One hole is the kernel's: a process that ignores SIGCHLD (or sets SA_NOCLDWAIT) does not wait for its
children, and the kernel drops their totals with them (wait(2), NOTES).  What samples last saw of a child
that vanished below a parent ignoring SIGCHLD is added, so that the result is a lower bound then; I/O of
such children and CPU time below SA_NOCLDWAIT, which /proc does not show, are not.

Memory is sampled.  Samples are paid from a budget of 0.8 % of a core, so that a node with a long process
table gets fewer; measured costs are in docs/decisions/0003-exact-cpu-by-sub-reaping.md.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from udocker.api import TYPE_CHECKING, dataclass

from ..identity import descendants
from ..process import (
    FORWARDED,
    Transferred,
    adopt_orphans,
    end_family,
    exit_status,
    held_signals,
    reap,
    start,
    transferred_by_reaped,
    transferred_by_thread,
)

if TYPE_CHECKING:
    from typing import Optional

    from .family import Family

# Seconds before psutil is imported, which takes longer than a short program; only memory is looked at before.
FIRST = 0.05

# Seconds that what the program left behind has for its own clean-up before it is killed.
GRACE = 2.0

# The share of a core that samples may use, and the CPU seconds that they have for the dense first ones.
BUDGET = 0.008
ALLOWANCE = 0.02

_SI_KERNEL = 0x80  # sigaction(2): sent by the kernel, as from a terminal to the whole foreground group


@dataclass(frozen=True)
class Measurement:
    """What a program and all its descendants used; the fields mean what they mean in Usage.

    ``signal`` is the one that ended the program, if one did; ``exit_status`` is 128 + signal then.
    """

    exit_status: int
    signal: Optional[int]
    started: float
    ended: float
    wall_seconds: float
    user_seconds: float
    system_seconds: float
    peak_memory: Optional[int]
    read_bytes: Optional[int]
    written_bytes: Optional[int]
    storage_read_bytes: Optional[int]
    storage_written_bytes: Optional[int]


def measure(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: Optional[str],
    *,
    forward_signals: bool = True,
    interval: float = 1.0,
    on_start: Optional[Callable[[int], None]] = None,
    on_end: Optional[Callable[[Measurement], None]] = None,
) -> Measurement:
    """Run a program to its end, end what is left of its descendants, and tell what they all used.

    Call it from the main thread of a process that has no other thread and no other children: they would
    be reaped and counted.  ``on_start`` gets the program's pid, ``on_end`` the result; during both, and
    from the call on, signals are held, so that none is lost and none ends this process before its record
    is written.  The program stays in this process's group and session.  With ``forward_signals`` the
    signals of FORWARDED that only this process gets are passed on; those of a terminal reach the program
    anyway.  ``interval`` is the longest time between memory samples.  Raises OSError when the program
    cannot be started, as execve(2) and chdir(2) do.
    """
    adopt_orphans()
    holding = {*FORWARDED, signal.SIGTSTP} if forward_signals else set()
    with held_signals(holding) as mask:
        tally = _Tally(_resident(os.getpid()))
        clock = time.monotonic()
        started = time.time()
        program = start(argv, env, cwd, mask)
        sampler = _Sampler(interval)
        try:
            sampler.start()
            if on_start is not None:
                on_start(program)
            status = _wait(program, tally, holding)
            wall, ended = time.monotonic() - clock, time.time()
        finally:
            end_family(tally.collect, GRACE)
            sampler.stop(tally.pids)
        result = _measurement(status, started, ended, wall, tally, sampler)
        if on_end is not None:
            on_end(result)
        while holding and signal.sigtimedwait(holding, 0) is not None:
            pass  # meant for the program, which has ended
    return result


class _Tally:
    """The sums over every process reaped here; ``own_memory`` is this process's when it forked."""

    def __init__(self, own_memory: int) -> None:
        self.own_memory = own_memory
        self.user = 0.0
        self.system = 0.0
        self.largest = 0
        self.io_before = transferred_by_reaped()
        self.statuses: dict[int, int] = {}

    @property
    def pids(self) -> frozenset[int]:
        return frozenset(self.statuses)

    def collect(self) -> None:
        for ended in reap():
            self.statuses[ended.pid] = ended.status
            self.user += ended.usage.ru_utime
            self.system += ended.usage.ru_stime
            # A process starts with the memory of the one that forked it, and exec leaves that in its
            # ru_maxrss: up to our own size it says nothing about the program.
            if ended.usage.ru_maxrss * 1024 > self.own_memory:
                self.largest = max(self.largest, ended.usage.ru_maxrss * 1024)

    def moved(self, sampler: _Sampler) -> Optional[Transferred]:
        """What the processes reaped here have read and written, once ``sampler`` has ended."""
        now = transferred_by_reaped()
        if now is None or self.io_before is None or sampler.moved is None:
            return None
        return now.less(self.io_before).less(sampler.moved)


def _wait(program: int, tally: _Tally, holding: set[signal.Signals]) -> int:
    """Reap and forward until the program ends; returns its wait status."""
    while program not in tally.statuses:
        received = signal.sigwaitinfo({signal.SIGCHLD, *holding})
        tally.collect()
        if received.si_signo == signal.SIGCHLD or program in tally.statuses:
            continue
        # A terminal's signals go to its whole foreground group, the program among it: a second one
        # would make mpiexec, for one, give up at once.
        if received.si_code != _SI_KERNEL:
            os.kill(program, received.si_signo)
        if received.si_signo == signal.SIGTSTP:
            _stop_here()
    return tally.statuses[program]


def _stop_here() -> None:
    """Stop as SIGTSTP's default action does, so that a shell sees its job stopped; returns after SIGCONT."""
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})


def _measurement(
    status: int, started: float, ended: float, wall: float, tally: _Tally, sampler: _Sampler
) -> Measurement:
    moved = tally.moved(sampler)
    return Measurement(
        exit_status=exit_status(status),
        signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        started=started,
        ended=ended,
        wall_seconds=wall,
        user_seconds=tally.user + sampler.lost_user,
        system_seconds=tally.system + sampler.lost_system,
        peak_memory=max(sampler.peak, tally.largest) or None,  # too short to be seen
        read_bytes=moved.read if moved else None,
        written_bytes=moved.written if moved else None,
        storage_read_bytes=moved.storage_read if moved else None,
        storage_written_bytes=moved.storage_written if moved else None,
    )


class _Sampler(threading.Thread):
    """Samples the memory of all descendants until stopped.  It starts with every signal held."""

    def __init__(self, interval: float) -> None:
        super().__init__(name="sampler", daemon=True)
        self.lost_user = 0.0
        self.lost_system = 0.0
        self.moved: Optional[Transferred] = Transferred(0, 0, 0, 0)
        self._interval = interval
        self._stopped = threading.Event()
        self._family: Optional[Family] = None
        self._early = 0  # the largest memory before there was a family

    @property
    def peak(self) -> int:
        """The largest memory of a sample, in bytes."""
        return max(self._early, 0 if self._family is None else self._family.peak)

    def stop(self, reaped: frozenset[int]) -> None:
        """End sampling; ``reaped`` are the processes whose times are already counted."""
        self._stopped.set()
        if self.ident is not None:  # None: it could not be started
            self.join()
        if self._family is not None:
            self.lost_user, self.lost_system = self._family.lost(reaped)

    def run(self) -> None:
        begun = time.monotonic()
        step, before = min(0.005, self._interval), 0.0
        while not self._stopped.wait(step):
            elapsed = time.monotonic() - begun
            if self._early and self._family is None and elapsed > FIRST:
                self._family = _family()
                before = time.thread_time()
            if self._family is None:
                self._early = max(self._early, sum(map(_resident, descendants(os.getpid()))))
            else:
                self._family.sample()
            # 5 ms at first, 50 ms until the first second is over, then ever longer.
            planned = min(self._interval, max(0.005, min(elapsed / 2, 0.05), elapsed / 20))
            owed = (time.thread_time() - before - ALLOWANCE) / BUDGET - elapsed
            step = max(planned, owed)
        self.moved = transferred_by_thread()


def _family() -> Family:
    from .family import Family

    return Family()


def _resident(pid: int) -> int:
    """Bytes of a process's memory: the second field of proc(5)'s statm, in pages.  0 where it has ended."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0
