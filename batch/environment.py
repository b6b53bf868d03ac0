"""The variables that batch systems set: which a container is given, and what they say about a task."""

from __future__ import annotations

import re
from collections.abc import Mapping

from udocker.api import TYPE_CHECKING, dataclass, replace

from .errors import InvalidJob

if TYPE_CHECKING:
    from typing import Optional

# Variables of the batch system, its process managers and what they grant, by the beginning of their names.
# The rest of the job's environment stays outside, as with docker run.
_PASSED = (
    "SLURM_",
    "SLURMD_",
    "PBS_",
    "UDOCKER_JOB_",
    "UDOCKER_RANK",
    "UDOCKER_TASK_",
    "UDOCKER_SCHEDULER",
    "PMI_",
    "PMIX_",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
)
_STEP = {
    "UDOCKER_JOB_NAME": "SLURM_JOB_NAME",
    "UDOCKER_TASK_ID": "SLURM_ARRAY_TASK_ID",
    "UDOCKER_TASK_ATTEMPT": "SLURM_RESTART_COUNT",
    "UDOCKER_JOB_ID": "SLURM_ARRAY_JOB_ID",
    "UDOCKER_RANK": "SLURM_PROCID",
    "UDOCKER_RANK_COUNT": "SLURM_NTASKS",
}
_NUMBER, _STEP_NAME = r"[0-9]{1,9}", r"[0-9]{1,10}"


@dataclass(frozen=True)
class TaskIdentity:
    """Which attempt of which task of which job this is; ``task`` is None outside arrays.

    Of a rank, the ``step`` of the job that it belongs to, and its number there.
    """

    scheduler: str
    job: str
    task: Optional[int]
    attempt: int
    step: str = ""
    rank: Optional[int] = None


def passed_variables(environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The variables that a container is given, sorted by name.

    Outside arrays a job script may leave our variables of tasks empty: they are not set then.
    """
    empty = {name for name, value in environ.items() if name.startswith("UDOCKER_TASK_") and not value}
    return tuple(
        sorted(item for item in environ.items() if item[0].startswith(_PASSED) and item[0] not in empty)
    )


def allocated_cores(environ: Mapping[str, str]) -> Optional[int]:
    """How many cores of this node the task may use; None where the batch system does not tell."""
    text = environ.get("SLURM_CPUS_ON_NODE", "")
    return int(text) if re.fullmatch(_NUMBER, text) and int(text) > 0 else None


def cores_of_a_rank(environ: Mapping[str, str]) -> int:
    """How many cores each rank of a step was given: one where nothing else was asked for."""
    text = environ.get("SLURM_CPUS_PER_TASK", "")
    return int(text) if re.fullmatch(_NUMBER, text) and int(text) > 0 else 1


def step_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Our names for what Slurm says of the step that runs here, as job scripts set them."""
    names = {name: environ[source] for name, source in _STEP.items() if source in environ}
    return {"UDOCKER_SCHEDULER": "slurm", "UDOCKER_JOB_ID": environ.get("SLURM_JOB_ID", ""), **names}


def task_identity(environ: Mapping[str, str]) -> TaskIdentity:
    """Read what the job script has set; raises InvalidJob outside one."""
    scheduler, job = environ.get("UDOCKER_SCHEDULER", ""), environ.get("UDOCKER_JOB_ID", "")
    if not scheduler or not job:
        raise InvalidJob("task: no job is running here", "this is for job scripts to call")
    task = environ.get("UDOCKER_TASK_ID", "")
    attempt = environ.get("UDOCKER_TASK_ATTEMPT", "") or "0"
    for name, text in (("UDOCKER_TASK_ID", task or "0"), ("UDOCKER_TASK_ATTEMPT", attempt)):
        if not re.fullmatch(_NUMBER, text):
            raise InvalidJob(f"task: {name}={text!r}: not a number")
    return TaskIdentity(scheduler, job, int(task) if task else None, int(attempt))


def rank_identity(environ: Mapping[str, str]) -> Optional[TaskIdentity]:
    """Which rank of a step this is, by ``step_variables``; None where the batch system does not tell."""
    step, rank = environ.get("SLURM_STEP_ID", ""), environ.get("UDOCKER_RANK", "")
    if (
        not environ.get("UDOCKER_JOB_ID")
        or not re.fullmatch(_STEP_NAME, step)
        or not re.fullmatch(_NUMBER, rank)
    ):
        return None
    return replace(task_identity(environ), step=step, rank=int(rank))
