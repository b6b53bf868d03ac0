"""What has become of a job's tasks, told from the queue and from the processes that are still there."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Optional

from ..scheduler import JobState
from .queue import Ended, Job, Started, Task


@dataclass(frozen=True)
class TaskReport:
    """One task now; ``started`` and ``ended`` are seconds since the epoch."""

    index: Task
    state: JobState
    host: str
    exit_status: Optional[int] = None
    reason: str = ""
    started: Optional[float] = None
    ended: Optional[float] = None

    def to_mapping(self) -> Mapping[str, Any]:
        """A JSON object."""
        return {**asdict(self), "state": self.state.value}


def report(job: Job) -> list[TaskReport]:
    """Every task, in order of index."""
    # What was started is read first: a task that ends in between is then seen as ended.
    started, cancelled = job.all_started(), job.is_cancelled
    ended = job.all_ended()
    return [_task(job, task, started.get(task), ended.get(task), cancelled) for task in job.tasks]


def _task(
    job: Job, task: Task, started: Optional[Started], ended: Optional[Ended], cancelled: bool
) -> TaskReport:
    host = started.process.host if started else job.submission.submit_host
    began = started.time if started else None
    if ended is None and host == socket.gethostname() and started and not started.process.is_alive():
        # Asked again, because it may have told its end and died since.
        ended = job.ended(task) or Ended(JobState.LOST, None, "its processes were killed or the host failed")
    if ended is not None:
        return TaskReport(task, ended.state, host, ended.exit_status, ended.reason, began, ended.time or None)
    if host != socket.gethostname():
        return TaskReport(task, JobState.UNKNOWN, host, None, f"only {host} can tell", began)
    if started is not None:
        return TaskReport(task, JobState.RUNNING, host, started=began)
    if cancelled:
        return TaskReport(task, JobState.CANCELLED, host, reason="cancelled before it started")
    return TaskReport(task, JobState.PENDING, host, reason=_waiting(job))


def _waiting(job: Job) -> str:
    after = job.submission.after
    return "" if after is None else f"after job {after}"
