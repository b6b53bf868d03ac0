"""The process that runs one job: it starts tasks as cores get free, and takes over from a killed predecessor.

One process a job, none for the machine: there is no daemon to install, and what is lost with one of them
is one job's supervision, until the next ``status``, ``cancel`` or dependent job starts another.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import deque
from typing import Optional

from udocker.api import StoreError

from ..errors import BatchError, JobUnknown
from ..identity import Identity
from ..process import end_session, held_signals
from ..scheduler import JobState
from . import task as watcher
from .queue import Ended, Job, Task
from .revive import revive
from .slots import Slots, release

# Seconds between looks at what no signal tells of: cores of other jobs, adopted tasks, cancellation.
TICK = 0.2

# Seconds before a task whose watcher could not claim it is tried again, and before a failed write is.
PAUSE = 1.0

# How often a task may fail to start before it counts as failed.
TRIES = 10

_LOG = logging.getLogger(__name__)


class Supervisor:
    """Runs what is left of a job.  ``lock`` is the descriptor that makes it the only one."""

    def __init__(self, job: Job, lock: int) -> None:
        self.job = job
        self.pending: deque[Task] = deque()
        self.running: dict[int, Task] = {}
        self.adopted: dict[Task, Identity] = {}
        self._reaped: deque[tuple[Task, int, int]] = deque()
        self._lock = lock
        self._slots = Slots(job.queue.udocker_dir, job.queue.root)
        self._told: set[Task] = set()
        self._tries: dict[Task, int] = {}
        self._last_id = job.number
        self._not_before = 0.0

    def recover(self) -> None:
        """Sort the tasks by what an earlier supervisor left; tasks whose watcher died are lost."""
        ended, started = self.job.all_ended(), self.job.all_started()
        for task in self.job.tasks:
            if task in ended:
                continue
            if task not in started:
                self.pending.append(task)
                continue
            self.adopted[task] = started[task].process
        self._last_id = max([self._last_id, *(one.own_id for one in started.values())])
        self._watch_adopted()

    def run(self) -> None:
        """Work until every task has ended, and say so, or until somebody removes the job's directory."""
        with held_signals(()):
            while not self.job.is_removed and not self._done():
                try:
                    self._step()
                except (OSError, StoreError) as error:
                    # A full disk or a file server that is away: nothing is forgotten, so try again.
                    _LOG.error("job %d: %s", self.job.number, error)
                    time.sleep(PAUSE)
                signal.sigtimedwait({signal.SIGCHLD}, TICK)

    def _done(self) -> bool:
        if self.pending or self.running or self.adopted or self._reaped:
            return False
        try:
            self.job.finish()
        except (OSError, StoreError) as error:
            _LOG.error("job %d: cannot note its end: %s", self.job.number, error)
            time.sleep(PAUSE)
            return False
        return True

    def _step(self) -> None:
        self._collect()
        self._watch_adopted()
        if self.job.is_cancelled:
            self._cancel()
        elif self.pending and time.monotonic() >= self._not_before and self._after_is_done():
            self._start_tasks()

    def _collect(self) -> None:
        """Take note of watchers that have ended."""
        for pid in list(self.running):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                self._reaped.append((self.running.pop(pid), pid, status))
        while self._reaped:
            self._ended(*self._reaped[0])
            self._reaped.popleft()

    def _ended(self, task: Task, pid: int, status: int) -> None:
        started = self.job.started(task)
        if started is not None:
            # Usually it has told its end, and this finds that at once.
            self.adopted[task] = started.process
            return
        tries = self._tries[task] = self._tries.get(task, 0) + 1
        _LOG.warning("task %s: watcher %d ended with wait status %d before it started", task, pid, status)
        if tries >= TRIES:
            self.job.end(task, Ended(JobState.FAILED, None, "could not be started", time.time()))
            return
        self.pending.appendleft(task)
        self._not_before = time.monotonic() + PAUSE

    def _watch_adopted(self) -> None:
        """Take note of tasks that have ended, and of those whose watcher is dead without a word."""
        for task, process in list(self.adopted.items()):
            if process.is_here and process.is_alive():
                continue
            if self.job.ended(task) is None:
                if not process.is_here:
                    continue
                reason = "its watcher was killed or the host failed"
                if process.boot == Identity.of(os.getpid()).boot:
                    end_session(process.pid)
                self.job.end(task, Ended(JobState.LOST, None, reason, time.time()))
            del self.adopted[task]

    def _cancel(self) -> None:
        """End pending tasks in the queue and tell running ones, each once."""
        self._drop(JobState.CANCELLED, "cancelled before it started")
        for pid, task in self.running.items():
            if task not in self._told and self.job.started(task) is not None:
                os.kill(pid, signal.SIGTERM)  # a child that is not reaped yet: the pid is its own
                self._told.add(task)
        for task, process in self.adopted.items():
            if task not in self._told:
                process.signal(signal.SIGTERM)
                self._told.add(task)

    def _drop(self, state: JobState, reason: str) -> None:
        while self.pending:
            task = self.pending[0]
            started = self.job.started(task)
            if started is not None:
                # By a watcher that a killed supervisor had forked and that had not claimed its task then.
                self.adopted[task] = started.process
            else:
                self.job.end(task, Ended(state, None, reason, time.time()))
            self.pending.popleft()

    def _after_is_done(self) -> bool:
        """Whether the job to wait for has succeeded; when it cannot any more, nothing is left pending."""
        number = self.job.submission.after
        if number is None:
            return True
        try:
            after = self.job.queue.job(number)
        except JobUnknown as error:
            self._drop(JobState.CANCELLED, f"dependency never satisfied: {error.message}")
            return False
        if after.outcome == "completed":
            return True
        if after.outcome:
            self._drop(JobState.CANCELLED, f"dependency never satisfied: job {number} did not succeed")
            return False
        try:
            revive(after)  # whoever supervised it may have been killed
        except BatchError as error:
            _LOG.error("job %d: %s", self.job.number, error)
            self._not_before = time.monotonic() + PAUSE
        return False

    def _start_tasks(self) -> None:
        limit = (self.job.array.limit if self.job.array else 0) or len(self.job.tasks)
        while self.pending and len(self.running) + len(self.adopted) < limit:
            held = self._slots.take(self.job.submission.cpus)
            if held is None:
                return
            try:
                self._start(self.pending[0], held)
            finally:
                release(held)  # the watcher has its own copies, and the lock lives as long as one does
            self.pending.popleft()

    def _start(self, task: Task, held: list[int]) -> None:
        own_id = self.job.number
        if self.job.array:
            own_id = self._last_id = self.job.queue.new_id(self._last_id)
        pid = os.fork()
        if pid == 0:
            _watch(self.job, task, own_id, self._lock)
        self.running[pid] = task


def _watch(job: Job, task: Task, own_id: int, lock: int) -> None:
    """The watcher's whole life, in the child of the fork; never returns."""
    status: Optional[int] = None
    try:
        os.close(lock)  # else this process would keep a next supervisor out
        status = watcher.watch(job, task, own_id)
    except BaseException:  # noqa: BLE001 - nothing may get past _exit into the supervisor's code
        _LOG.exception("task %s: its watcher failed", task)
    finally:
        os._exit(watcher.NOT_STARTED if status is None else status)
