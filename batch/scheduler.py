"""What every batch system's back end offers: pure functions between values and command lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Optional, Protocol

from .jobspec import ArraySpec, JobSpec
from .usage import Usage


class JobState(Enum):
    """The states that all batch systems share; what a back end does not know is UNKNOWN."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out-of-memory"
    NODE_FAILED = "node-failed"
    PREEMPTED = "preempted"
    LOST = "lost"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        """Whether no further change is expected."""
        return self not in (JobState.PENDING, JobState.RUNNING, JobState.UNKNOWN)


@dataclass(frozen=True)
class TaskStatus:
    """One task of a job: ``index`` is None for a job that is no array.

    ``exit_status`` is the program's own, or 128 + signal; None while there is none.
    """

    index: Optional[int]
    state: JobState
    exit_status: Optional[int] = None
    host: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Command:
    """A command line of the batch system, with what it reads from standard input."""

    argv: tuple[str, ...]
    stdin: str = ""


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str


class Scheduler(Protocol):
    """A batch system.  Every method is pure: another module runs the commands and feeds the answers.

    The ``parse_*`` methods raise SubmitFailed or JobUnknown when the command's own words say so.
    """

    name: str

    def files(self, job: JobSpec, payload: str) -> Mapping[str, str]:
        """The job's files by name, the script being ``script``; ``payload`` is the task's JSON."""
        ...

    def outputs(self, job: JobSpec) -> Mapping[str, str]:
        """The files for the job's output that are named, by the options that name them."""
        ...

    def array(self, job: JobSpec) -> Optional[ArraySpec]:
        """The array that the job becomes, whoever asks for it: its fields or its ``options``.

        None for one task, and for what only the batch system can read.
        """
        ...

    def submit_command(self, job: JobSpec, files: Mapping[str, str], after: Optional[str] = None) -> Command:
        """Submit; ``after`` is a job that must have succeeded first."""
        ...

    def preparing(self, job: JobSpec) -> tuple[str, ...]:
        """The options for a job of one task that only prepares ``job``'s image."""
        ...

    def parse_submitted(self, finished: Finished) -> str:
        """The new job's id."""
        ...

    def status_command(self, job_id: str) -> Command:
        """Ask for every task of a job."""
        ...

    def parse_status(self, job_id: str, finished: Finished) -> Sequence[TaskStatus]:
        """Every task, in order of index."""
        ...

    def usage_command(self, job_id: str) -> Optional[Command]:
        """Ask for the batch system's own accounting; None where it keeps none."""
        ...

    def parse_usage(self, job_id: str, finished: Finished) -> Sequence[Usage]:
        """The batch system's own record of every task."""
        ...

    def cancel_command(self, job_id: str) -> Command:
        """Cancel all that is left of a job."""
        ...

    def parse_cancelled(self, job_id: str, finished: Finished) -> None:
        """Raise JobUnknown where it was refused."""
        ...
