"""The process that watches over one task: it starts the script, ends it in time and tells how it ended.

It outlives its supervisor: whatever happens to that, the task's result is written.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..errors import BatchError
from ..identity import Identity
from ..process import adopt_orphans, end_family, exit_status, held_signals, reap, start
from ..scheduler import JobState
from ..script import interpreter
from .environment import for_task, output_name
from .queue import Ended, Job, Started, Task

# Seconds between SIGTERM and SIGKILL for a task that is cancelled or out of time.
GRACE = 5.0

# The watcher's own exit statuses: the task is no longer the supervisor's to start, or still is.
TAKEN, NOT_STARTED = 0, os.EX_TEMPFAIL

OUTPUT = "udocker-%j.out"
ARRAY_OUTPUT = "udocker-%A_%a.out"

# docker's status for a container that did not start (docker-run(1)).
CANNOT_START = 125

_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
_LOG = logging.getLogger(__name__)

# How long a full disk may keep a result from being written.  Until then the task shows as running.
_WRITE_PATIENCE, _WRITE_PAUSE = 600.0, 1.0


def watch(job: Job, task: Task, own_id: int) -> int:
    """Run one task, under its own job id, to its end; TAKEN, or NOT_STARTED if it could not be claimed."""
    os.setsid()
    adopt_orphans()
    with held_signals(_STOPPING):
        try:
            started = Started(own_id, time.time(), Identity.of(os.getpid()))
            if not job.begin(task, started):
                return TAKEN
            # Asked after the claim; Supervisor._drop looks for a claim after the mark: one sees the other.
            cancelled = job.is_cancelled
        except OSError as error:
            _LOG.error("task %s: not started: %s", task, error)
            return NOT_STARTED
        if cancelled:
            ended = Ended(JobState.CANCELLED, None, "cancelled before it started", time.time())
        else:
            ended = _Run(job, task, own_id).run()
        _record(job, task, ended)
    return TAKEN


@dataclass
class _Run:
    """One run of a task's script; ``status`` is its wait status once it has ended."""

    job: Job
    task: Task
    own_id: int
    status: Optional[int] = None
    script: int = 0

    def run(self) -> Ended:
        limit = self.job.submission.time_limit
        deadline = time.monotonic() + limit if limit else None
        try:
            self.script = self._start()
        except (OSError, subprocess.SubprocessError, BatchError) as error:
            return Ended(JobState.FAILED, CANNOT_START, f"cannot start: {_words(error)}", time.time())
        cut = self._wait(deadline)
        # Also after a good end: what the script left behind would use a core that counts as free.
        end_family(self._collect, GRACE)
        status = None if self.status is None else exit_status(self.status)
        if cut is None:
            state = JobState.COMPLETED if status == 0 else JobState.FAILED
            return Ended(state, status, "", time.time())
        return Ended(cut[0], status, cut[1], time.time())

    def _start(self) -> int:
        submission = self.job.submission
        directory = Path(submission.directory)
        os.umask(submission.umask)
        pattern = submission.stdout or (ARRAY_OUTPUT if self.job.array else OUTPUT)
        argv = [*interpreter(os.fsdecode(self.job.script.read_bytes())), str(self.job.script)]
        environment = for_task(self.job, self.task, self.own_id)
        opened: list[int] = []
        try:
            opened.append(self._open(directory, pattern))
            if submission.stderr and submission.stderr != pattern:
                opened.append(self._open(directory, submission.stderr))
            return start(
                argv,
                environment,
                str(directory),
                (),
                own_group=True,  # a script may signal its whole group: `kill 0`
                stdin=subprocess.DEVNULL,
                stdout=opened[0],
                stderr=opened[-1],
            )
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _open(self, directory: Path, pattern: str) -> int:
        path = directory / output_name(pattern, self.job, self.task, self.own_id)
        # Appending keeps standard output and error in order where both are one file.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOCTTY
        return os.open(path, flags, 0o666)

    def _wait(self, deadline: Optional[float]) -> Optional[tuple[JobState, str]]:
        """Wait for the script; tells why it is to be cut short, or None when it ended by itself."""
        while self.status is None:
            left = 3600.0 if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return JobState.TIMEOUT, f"ran longer than {self.job.submission.time_limit} s"
            # In turns of an hour: limits may be longer than the kernel's type for times can hold.
            received = signal.sigtimedwait({signal.SIGCHLD, *_STOPPING}, min(left, 3600.0))
            self._collect()
            if received is not None and received.si_signo != signal.SIGCHLD and self.status is None:
                name = signal.Signals(received.si_signo).name
                why = "cancelled" if self.job.is_cancelled else f"{name} from outside the batch system"
                return JobState.CANCELLED, why
        return None

    def _collect(self) -> None:
        for ended in reap():
            if ended.pid == self.script:
                self.status = ended.status


def _record(job: Job, task: Task, ended: Ended) -> None:
    deadline = time.monotonic() + _WRITE_PATIENCE
    while True:
        try:
            return job.end(task, ended)
        except OSError as error:
            _LOG.error("task %s on %s: cannot write its result: %s", task, socket.gethostname(), error)
            if time.monotonic() > deadline or job.is_removed:
                raise
            time.sleep(_WRITE_PAUSE)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
