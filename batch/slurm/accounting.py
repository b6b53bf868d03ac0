"""Reading what squeue and sacct print."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Optional

from ..errors import InvalidJob
from ..jobspec import ArraySpec
from ..scheduler import JobState, TaskStatus
from ..usage import Usage

FIELDS = (
    "JobID",
    "State",
    "ExitCode",
    "ElapsedRaw",
    "UserCPU",
    "SystemCPU",
    "MaxRSS",
    "NodeList",
    "Start",
    "End",
)

# 17, 17_3, 17_[4-9%2], each with .batch and the like for steps (sacct(1), JobID).
_JOB = re.compile(r"(?P<job>\d+)(?:_(?:(?P<task>\d+)|\[(?P<tasks>[^\]]*)\]))?(?:\.(?P<step>.+))?", re.ASCII)
_FACTORS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class _Rows:
    job: str
    tasks: tuple[Optional[int], ...]
    step: str


def parse_rows(text: str, job_id: str, states: Mapping[str, JobState]) -> Iterator[tuple[bool, TaskStatus]]:
    """Every task that squeue's rows (``Q|job|task|state|nodes|reason``) and sacct's
    (``JobID|State|ExitCode|NodeList``) tell of, each with whether it is squeue that tells."""
    for line in text.splitlines():
        columns = line.split("|")
        if columns[0] == "Q" and len(columns) == 6:
            _, job, task, word, nodes, reason = columns
            row = _identify(f"{job}_{task}" if task.isdigit() else job)
            status = TaskStatus(None, _state(word, states), None, nodes, "" if reason == "None" else reason)
        elif len(columns) == 4:
            row = _identify(columns[0])
            state = _state(columns[1], states)
            code = _exit_status(columns[2]) if state.ended else None
            status = TaskStatus(None, state, code, "" if columns[3].startswith("None") else columns[3])
        else:
            continue
        if row is not None and row.job == job_id:
            yield from ((columns[0] == "Q", replace(status, index=index)) for index in row.tasks)


def parse_usage(text: str, job_id: str, states: Mapping[str, JobState]) -> list[Usage]:
    """One Usage a task: times of the whole job's row, memory of its largest step."""
    found: dict[Optional[int], Usage] = {}
    for line in text.splitlines():
        columns = dict(zip(FIELDS, line.split("|")))
        row = _identify(columns.get("JobID", ""))
        if row is None or row.job != job_id or len(row.tasks) != 1 or len(columns) != len(FIELDS):
            continue
        task = row.tasks[0]
        if not row.step:
            found[task] = _usage(columns, job_id, task, _state(columns["State"], states))
        elif task in found:
            peak = max(found[task].peak_memory or 0, _bytes(columns["MaxRSS"]) or 0)
            found[task] = replace(found[task], peak_memory=peak or None)
    return [found[task] for task in sorted(found, key=lambda task: -1 if task is None else task)]


def _usage(columns: Mapping[str, str], job_id: str, task: Optional[int], state: JobState) -> Usage:
    return Usage(
        job=job_id,
        task=task,
        attempt=0,
        host=columns["NodeList"],
        image="",
        digest="",
        command=(),
        state="ended" if state.ended else "running",
        started=_epoch(columns["Start"]) or 0.0,
        ended=_epoch(columns["End"]),
        exit_status=_exit_status(columns["ExitCode"]) if state.ended else None,
        wall_seconds=float(columns["ElapsedRaw"] or 0),
        user_seconds=_duration(columns["UserCPU"]),
        system_seconds=_duration(columns["SystemCPU"]),
        scheduler="slurm",
        extra={"source": "sacct", "scheduler_state": state.value},
    )


def _identify(text: str) -> Optional[_Rows]:
    match = _JOB.fullmatch(text)
    if match is None:
        return None
    tasks: tuple[Optional[int], ...] = (None,)
    if match["task"] is not None:
        tasks = (int(match["task"]),)
    elif match["tasks"] is not None:
        try:
            tasks = ArraySpec.parse(match["tasks"]).indices
        except InvalidJob:
            tasks = (None,)  # sacct cuts long lists short with "..."; squeue has the whole one
    return _Rows(match["job"], tasks, match["step"] or "")


def _state(word: str, states: Mapping[str, JobState]) -> JobState:
    # "CANCELLED by 1000"; a + marks a word that was cut.
    return states.get(word.split(" ")[0].rstrip("+"), JobState.UNKNOWN)


def _exit_status(text: str) -> Optional[int]:
    """``status:signal`` as shells tell it."""
    status, _, number = text.partition(":")
    if not status.isdigit() or not number.isdigit():
        return None
    return 128 + int(number) if int(number) else int(status)


def _duration(text: str) -> Optional[float]:
    """``[D-][HH:]MM:SS[.mmm]`` in seconds."""
    days, _, clock = text.rpartition("-")
    total = 0.0
    try:
        for part in clock.split(":"):
            total = total * 60 + float(part)
        return total + int(days or 0) * 86400
    except ValueError:
        return None


def _bytes(text: str) -> Optional[int]:
    factor = _FACTORS.get(text[-1:], 1)
    try:
        return int(float(text.rstrip("KMGT")) * factor)
    except ValueError:
        return None


def _epoch(text: str) -> Optional[float]:
    """sacct's local time; None for ``Unknown``."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
