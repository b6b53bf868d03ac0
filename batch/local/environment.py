"""What a task finds in its environment, and the names of its output files."""

from __future__ import annotations

import os
import pwd
import re
import socket
from collections.abc import Mapping

from .queue import Job, Task

# Variables that tell a program which job it is in; those of an outer job would mislead it.  SLURM_CONF
# names the cluster, not the job.
_JOB_VARIABLE = re.compile(
    r"(?!SLURM_CONF$)(?:SLURMD?_.*|PBS_.*|UDOCKER_(?:JOB_.*|ARRAY_JOB_ID|SCHEDULER|TASK_.*))", re.DOTALL
)
_FIELD = re.compile(r"%(\d*)([%AajJxuNnts])")
_WIDEST = 10  # sbatch(1), filename pattern: a wider field counts as 10


def for_submission(environ: Mapping[str, str]) -> dict[str, str]:
    """The submitter's environment without what tells of a job that it ran in itself."""
    return {name: value for name, value in environ.items() if not _JOB_VARIABLE.fullmatch(name)}


def for_task(job: Job, task: Task, own_id: int) -> dict[str, str]:
    """The environment of one task: the submitter's, and the job's variables by our names and Slurm's."""
    submission, host = job.submission, socket.gethostname()
    short = host.partition(".")[0]
    variables = {
        "UDOCKER_SCHEDULER": "local",
        "UDOCKER_JOB_ID": str(job.number),
        "UDOCKER_JOB_NAME": submission.name,
        "UDOCKER_TASK_ATTEMPT": "0",
        "SLURM_JOB_ID": str(own_id),
        "SLURM_JOBID": str(own_id),
        "SLURM_JOB_NAME": submission.name,
        "SLURM_JOB_USER": user(),
        "SLURM_JOB_UID": str(os.getuid()),
        "SLURM_JOB_GID": str(os.getgid()),
        "SLURM_JOB_NODELIST": short,
        "SLURM_NODELIST": short,
        "SLURMD_NODENAME": short,
        "SLURM_SUBMIT_DIR": submission.submit_directory,
        "SLURM_SUBMIT_HOST": submission.submit_host,
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NNODES": "1",
        "SLURM_NTASKS": "1",
        "SLURM_NPROCS": "1",
        "SLURM_TASKS_PER_NODE": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_CPUS_PER_TASK": str(submission.cpus),
        "SLURM_CPUS_ON_NODE": str(submission.cpus),
        "SLURM_JOB_CPUS_PER_NODE": str(submission.cpus),
    }
    if submission.memory:
        variables["SLURM_MEM_PER_NODE"] = str(-(-submission.memory >> 20))  # MiB
    return {**submission.environment, **variables, **_array(job, task)}


def output_name(pattern: str, job: Job, task: Task, own_id: int) -> str:
    """A file name from sbatch's pattern (sbatch(1), filename pattern)."""
    values = {
        "%": "%",
        "A": str(job.number),
        "a": "0" if task is None else str(task),
        "j": str(own_id),
        "J": str(own_id),
        # Slashes would make directories of a name or a user that nobody meant as such.
        "x": job.submission.name.replace("/", "_"),
        "u": user().replace("/", "_"),
        "N": socket.gethostname().partition(".")[0],
        "n": "0",
        "t": "0",
        "s": "batch",
    }

    def expand(match: re.Match[str]) -> str:
        value = values[match[2]]
        return value.zfill(min(int(match[1]), _WIDEST)) if match[1] and value.isdigit() else value

    return _FIELD.sub(expand, pattern)


def user() -> str:
    """The user's name, or number where the system knows no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _array(job: Job, task: Task) -> dict[str, str]:
    if job.array is None:
        return {}
    indices = job.array.indices
    values = {
        "ID": str(task),
        "COUNT": str(len(indices)),
        "MIN": str(indices[0]),
        "MAX": str(indices[-1]),
        "STEP": str(job.array.step),
    }
    variables = {f"UDOCKER_TASK_{name}": value for name, value in values.items()}
    variables.update({f"SLURM_ARRAY_TASK_{name}": value for name, value in values.items()})
    variables["UDOCKER_ARRAY_JOB_ID"] = variables["SLURM_ARRAY_JOB_ID"] = str(job.number)
    return variables
