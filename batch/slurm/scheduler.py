"""Slurm as a Scheduler: sbatch(1), squeue(1), sacct(1), scancel(1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Optional

from ..errors import InvalidJob, JobUnknown, SubmitFailed
from ..jobspec import ArraySpec, JobSpec
from ..render import render
from ..scheduler import Command, Finished, JobState, TaskStatus
from ..script import with_comments
from ..usage import Usage
from .accounting import FIELDS, parse_rows
from .options import SBATCH
from .words import words_of

SCRIPT = "script"
# What a job that prepares for an array does not share with it.
_OF_ARRAYS = frozenset({"array", "nodes", "ntasks", "ntasks-per-node", "output", "error"})

# Slurm's words for states (squeue(1), JOB STATE CODES), by what they mean to us.
STATES: Mapping[str, JobState] = {
    "PENDING": JobState.PENDING,
    "CONFIGURING": JobState.PENDING,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "SPECIAL_EXIT": JobState.PENDING,
    "RESV_DEL_HOLD": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "COMPLETING": JobState.RUNNING,
    "STAGE_OUT": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "STOPPED": JobState.RUNNING,
    "SUSPENDED": JobState.RUNNING,
    "COMPLETED": JobState.COMPLETED,
    "FAILED": JobState.FAILED,
    "BOOT_FAIL": JobState.NODE_FAILED,
    "NODE_FAIL": JobState.NODE_FAILED,
    "CANCELLED": JobState.CANCELLED,
    "REVOKED": JobState.CANCELLED,
    "TIMEOUT": JobState.TIMEOUT,
    "DEADLINE": JobState.TIMEOUT,
    "OUT_OF_MEMORY": JobState.OUT_OF_MEMORY,
    "PREEMPTED": JobState.PREEMPTED,
}

_ID = re.compile(r"\d{1,12}", re.ASCII)
_ANSWERS = "Slurm's commands have to be on this machine; sinfo tells whether it answers here"
# Two questions in one command: the controller knows what is active, the database what has ended.  Either
# may be silent, so the answers are told apart by their first column.
_STATUS = (
    'squeue --noheader --array --states=all --jobs="$1" --format="Q|%F|%K|%T|%N|%r" 2>/dev/null; '
    'sacct --noheader --parsable2 --allocations --jobs="$1" --format=JobID,State,ExitCode,NodeList'
)


class SlurmScheduler:
    """Slurm 20.11 and later.  ``program`` is the path of udocker-batch on the nodes."""

    name = "slurm"

    def __init__(self, program: str) -> None:
        self._program = program

    def files(self, job: JobSpec, payload: str) -> Mapping[str, str]:
        """The job script, which sbatch reads from standard input."""
        script = render("slurm.sh", task=payload, program=self._program)
        return {SCRIPT: with_comments(script, job.directives)}

    def outputs(self, job: JobSpec) -> Mapping[str, str]:
        """By fields or by sbatch's own options, which win; those in lines of a script are not looked at."""
        line = SBATCH.read(job.options)
        return {
            "stdout": line.last("output") or job.stdout,
            "stderr": line.last("error") or job.stderr,
        }

    def array(self, job: JobSpec) -> Optional[ArraySpec]:
        """By sbatch's own option, which wins, or by the field."""
        text = SBATCH.read(job.options).last("array")
        return job.array if text is None else ArraySpec.parse_if_able(text)

    def submit_command(self, job: JobSpec, files: Mapping[str, str], after: Optional[str] = None) -> Command:
        """sbatch with the job's own options first, so that those handed through win."""
        _refuse_script(job.options)
        options = job.options
        dependency: tuple[str, ...] = ()
        if after is not None:
            options, dependency = _depend(options, after)
        return Command(("sbatch", "--parsable", *_own(job), *dependency, *options), files[SCRIPT])

    def preparing(self, job: JobSpec) -> tuple[str, ...]:
        """The options of a job that prepares for ``job``: the same, but one task with output of its own."""
        return SBATCH.read(job.options).words(_OF_ARRAYS)

    def parse_submitted(self, finished: Finished) -> str:
        """``ID[;cluster]``, the last line of ``sbatch --parsable``."""
        lines = finished.stdout.split()
        job_id = lines[-1].partition(";")[0] if lines else ""
        if finished.status != 0 or not _ID.fullmatch(job_id):
            hint = "see sbatch(1) for its options; sinfo tells whether Slurm answers here"
            raise SubmitFailed(f"submit: slurm: {words_of(finished)}", hint)
        return job_id

    def status_command(self, job_id: str) -> Command:
        """squeue and sacct."""
        return Command(("sh", "-c", _STATUS, "status", _checked(job_id)))

    def parse_status(self, job_id: str, finished: Finished) -> Sequence[TaskStatus]:
        """What the queue says of a task while it has it; how a task ended the accounting knows better.

        A requeued task is pending in the queue, while the accounting still tells how its first try ended.
        """
        queued: dict[Optional[int], TaskStatus] = {}
        accounted: dict[Optional[int], TaskStatus] = {}
        for is_queue, task in parse_rows(finished.stdout, job_id, STATES):
            (queued if is_queue else accounted)[task.index] = task
        active = {index: task for index, task in queued.items() if not task.state.ended}
        ended = {index: task for index, task in accounted.items() if task.state.ended}
        tasks = {**accounted, **queued, **ended, **active}
        if not tasks:
            words = words_of(finished, "neither the queue nor the accounting has it")
            raise JobUnknown(f"status: slurm job {job_id}: {words}", _ANSWERS)
        if len(tasks) > 1:
            tasks.pop(None, None)  # the array as a whole, while its tasks are told one by one
        return sorted(tasks.values(), key=lambda task: -1 if task.index is None else task.index)

    def usage_command(self, job_id: str) -> Optional[Command]:
        """sacct with its steps, whose figures the batch step carries."""
        fields = f"--format={','.join(FIELDS)}"
        return Command(("sacct", "--noheader", "--parsable2", f"--jobs={_checked(job_id)}", fields))

    def parse_usage(self, job_id: str, finished: Finished) -> Sequence[Usage]:
        """One record a task, of what Slurm measured itself."""
        from .accounting import parse_usage

        return parse_usage(finished.stdout, job_id, STATES)

    def cancel_command(self, job_id: str) -> Command:
        """scancel."""
        return Command(("scancel", _checked(job_id)))

    def parse_cancelled(self, job_id: str, finished: Finished) -> None:
        """scancel's own words; raises JobUnknown."""
        if finished.status != 0:
            raise JobUnknown(f"cancel: slurm job {job_id}: {words_of(finished)}", _ANSWERS)


def _own(job: JobSpec) -> list[str]:
    """The JobSpec's fields as options; memory is asked for in MiB, time in whole minutes, both rounded up."""
    minutes = -(-job.time_limit // 60)
    values = {
        "job-name": job.name,
        "array": job.array.text if job.array else "",
        "chdir": job.directory,
        "output": job.stdout,
        "error": job.stderr,
        "cpus-per-task": str(job.cpus or ""),
        "mem": f"{-(-job.memory >> 20)}M" if job.memory else "",
        "time": str(minutes or ""),
    }
    return [f"--{name}={value}" for name, value in values.items() if value]


def _depend(options: tuple[str, ...], after: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The options with ``after`` added to the job's dependencies: sbatch heeds the last --dependency only."""
    line = SBATCH.read(options)
    given = line.last("dependency")
    if given and "?" in given:
        raise InvalidJob(
            f"submit: --dependency={given}: alternatives cannot be joined with the job that prepares",
            "use --prepare=first or --prepare=submit",
        )
    joined = f"{given},afterok:{after}" if given else f"afterok:{after}"
    return line.words({"dependency"}), (f"--dependency={joined}", "--kill-on-invalid-dep=yes")


def _refuse_script(options: Sequence[str]) -> None:
    """Raise InvalidJob for a command among sbatch's options: it would run in place of ours, in no image."""
    line = SBATCH.read(options)
    hint = "put the command after --, as in: -- python3 x.py"
    if line.last("wrap") is not None:
        raise InvalidJob("submit: --wrap: would run outside the image", hint)
    if line.rest or line.separated:
        raise InvalidJob(f"submit: {(*line.rest, '--')[0]!r}: not an option", hint)


def _checked(job_id: str) -> str:
    if not _ID.fullmatch(job_id):
        raise JobUnknown(f"slurm: {job_id!r}: not a job id", "give the number that submit printed")
    return job_id
