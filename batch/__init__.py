"""Turn an image and a command into jobs of a batch system, prepared once and accounted for.

::

    job = udocker_batch.submit(udocker_batch.JobSpec(image="debian:12", command=("date",)), "slurm")
    print(job.id, job.result().exit_status)

``docs/batch-api.md`` has more.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; importing typing takes as long as ten modules of ours
if TYPE_CHECKING:
    from typing import Any

    from .errors import BatchError, InvalidJob, JobUnknown, SchedulerMissing, SubmitFailed, WaitTimeout
    from .interface import find, job_files, load, submit
    from .jobspec import ArraySpec, JobSpec
    from .scheduler import JobState, TaskStatus
    from .submission import Job, JobResult
    from .usage import Usage

# Loaded when they are asked for: a task on a node needs none of them.
_WHERE = {
    "ArraySpec": "jobspec",
    "BatchError": "errors",
    "InvalidJob": "errors",
    "Job": "submission",
    "JobResult": "submission",
    "JobSpec": "jobspec",
    "JobState": "scheduler",
    "JobUnknown": "errors",
    "SchedulerMissing": "errors",
    "SubmitFailed": "errors",
    "TaskStatus": "scheduler",
    "Usage": "usage",
    "WaitTimeout": "errors",
    "find": "interface",
    "load": "interface",
    "job_files": "interface",
    "submit": "interface",
}
__all__ = [
    "ArraySpec",
    "BatchError",
    "InvalidJob",
    "Job",
    "JobResult",
    "JobSpec",
    "JobState",
    "JobUnknown",
    "SchedulerMissing",
    "SubmitFailed",
    "TaskStatus",
    "Usage",
    "WaitTimeout",
    "find",
    "load",
    "job_files",
    "submit",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
