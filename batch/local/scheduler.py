"""The embedded scheduler as a back end: command lines for ``udocker-batch local`` and what they answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from ..errors import BatchError, JobUnknown, SubmitFailed
from ..jobspec import ArraySpec, JobSpec
from ..render import render
from ..scheduler import Command, Finished, JobState, TaskStatus
from ..script import with_comments
from ..usage import Usage

_NO_SUCH_JOB = "no such job"
_STATES = {state.value: state for state in JobState}


class LocalScheduler:
    """Runs jobs on this machine; ``program`` is the udocker-batch to call, now and in the tasks."""

    name = "local"

    def __init__(self, program: str, udocker_dir: Path) -> None:
        self._program = program
        self._udocker_dir = udocker_dir

    def files(self, job: JobSpec, payload: str) -> Mapping[str, str]:
        """The script."""
        return {
            "script": with_comments(render("local.sh", task=payload, program=self._program), job.directives)
        }

    def outputs(self, job: JobSpec) -> Mapping[str, str]:
        """As the job names them."""
        return {"stdout": job.stdout, "stderr": job.stderr}

    def array(self, job: JobSpec) -> Optional[ArraySpec]:
        """By the option of ``local submit``, which wins, or by the field."""
        words = [word.partition("=") for word in job.options]
        following = (*job.options[1:], "")
        texts = [
            text if equals else after
            for (name, equals, text), after in zip(words, following)
            if name == "--array"
        ]
        return ArraySpec.parse_if_able(texts[-1]) if texts else job.array

    def submit_command(self, job: JobSpec, files: Mapping[str, str], after: Optional[str] = None) -> Command:
        """``local submit`` with the script on standard input; ``job.options`` go to it as they are."""
        options = {
            "--name": job.name,
            "--array": job.array.text if job.array else "",
            "--directory": job.directory,
            "--stdout": job.stdout,
            "--stderr": job.stderr,
            "--cpus": str(job.cpus or ""),
            "--memory": str(job.memory or ""),
            "--time-limit": str(job.time_limit or ""),
            "--after": after or "",
        }
        # One word each: a value may begin with a dash.
        words = [f"{name}={value}" for name, value in options.items() if value]
        return self._command("submit", *words, *job.options, stdin=files["script"])

    def preparing(self, job: JobSpec) -> tuple[str, ...]:
        """None: what is particular to an array is in the JobSpec itself."""
        return ()

    def parse_submitted(self, finished: Finished) -> str:
        """The number that it printed; raises SubmitFailed, or JobUnknown for the job to wait for."""
        number = finished.stdout.strip()
        if number.isdecimal() and finished.status == 0:
            return number
        _raise_if_unknown(finished)
        raise SubmitFailed(f"submit: local: {_words(finished)}")

    def status_command(self, job_id: str) -> Command:
        """``local status``."""
        return self._command("status", "--", job_id)

    def parse_status(self, job_id: str, finished: Finished) -> Sequence[TaskStatus]:
        """Every task; raises JobUnknown, or BatchError with the command's words."""
        if finished.status != 0:
            _raise_if_unknown(finished)
            raise BatchError(f"status: local job {job_id}: {_words(finished)}")
        try:
            return [_task(entry) for entry in json.loads(finished.stdout)["tasks"]]
        except (ValueError, KeyError, TypeError) as error:
            raise BatchError(f"status: local job {job_id}: not its answer: {error}") from error

    def usage_command(self, job_id: str) -> Optional[Command]:
        """None: this batch system keeps no accounting besides the usage records."""
        return None

    def parse_usage(self, job_id: str, finished: Finished) -> Sequence[Usage]:
        """Nothing, as ``usage_command`` is None."""
        return ()

    def cancel_command(self, job_id: str) -> Command:
        """``local cancel``."""
        return self._command("cancel", "--", job_id)

    def parse_cancelled(self, job_id: str, finished: Finished) -> None:
        """Raises JobUnknown, or BatchError with the command's words."""
        if finished.status != 0:
            _raise_if_unknown(finished)
            raise BatchError(f"cancel: local job {job_id}: {_words(finished)}")

    def _command(self, act: str, *words: str, stdin: str = "") -> Command:
        return Command((self._program, "local", act, f"--udocker-dir={self._udocker_dir}", *words), stdin)


def _task(entry: Mapping[str, Any]) -> TaskStatus:
    return TaskStatus(
        index=entry["index"],
        state=_STATES.get(entry["state"], JobState.UNKNOWN),
        exit_status=entry["exit_status"],
        host=entry["host"],
        reason=entry["reason"],
    )


def _raise_if_unknown(finished: Finished) -> None:
    if _NO_SUCH_JOB in finished.stderr:
        raise JobUnknown(_words(finished), "udocker-batch status lists the jobs that are known here")


def _words(finished: Finished) -> str:
    return finished.stderr.strip().removeprefix("udocker-batch local: ") or f"exit status {finished.status}"
