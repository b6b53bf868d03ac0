"""Reading the usage records of a job."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Optional

from ..files import clean_temporary, is_temporary, store_error
from ..identity import Identity
from ..usage import Usage
from .written import ENDED, LOST, PROCESS, RUNNING, is_record, job_directory, write_record

__all__ = ["ENDED", "LOST", "PROCESS", "RUNNING", "JobRecords", "Records"]

_NUMBERS = frozenset(
    {
        "started",
        "ended",
        "exit_status",
        "wall_seconds",
        "user_seconds",
        "system_seconds",
        "peak_memory",
        "read_bytes",
        "written_bytes",
        "storage_read_bytes",
        "storage_written_bytes",
        "prepare_seconds",
    }
)
_WHOLE = frozenset({"attempt", "pid"})
_TEXTS = frozenset({"job", "host", "image", "digest", "state", "prepare", "scheduler", "step"})


@dataclass(frozen=True)
class Records:
    """The records of a job, ordered by task and attempt, and what could not be read, a line each."""

    usages: tuple[Usage, ...]
    problems: tuple[str, ...]

    @property
    def tasks(self) -> tuple[Usage, ...]:
        """Those of tasks, without those of ranks."""
        return tuple(usage for usage in self.usages if usage.rank is None)


class JobRecords:
    """The usage records of one job.  Raises InvalidJob for names that cannot be a directory's."""

    def __init__(self, udocker_dir: Path, scheduler: str, job: str) -> None:
        self._udocker_dir = udocker_dir
        self.directory = Path(job_directory(udocker_dir, scheduler, job))

    def write(self, usage: Usage) -> Path:
        """As ``write_record``; returns the record's path, raises StoreError."""
        return Path(write_record(self._udocker_dir, self.directory, usage))

    def read(self) -> Records:
        """The latest attempt of every task, and the ranks of that; see ``read_all``."""
        found = self.read_all()
        latest = {usage.task: usage.attempt for usage in found.usages}
        usages = tuple(usage for usage in found.usages if usage.attempt == latest[usage.task])
        return Records(usages, found.problems)

    def read_all(self) -> Records:
        """Every attempt of every task and rank; none before the first one starts.

        A record of state ``running`` whose process is dead comes as ``lost``; that can only be told on
        the host that it ran on.  Raises StoreError when the directory cannot be read.
        """
        usages: list[Usage] = []
        problems: list[str] = []
        for path in self._files():
            try:
                usages.append(_settled(_checked(Usage.from_json(path.read_text(encoding="utf-8")))))
            except (OSError, ValueError, RecursionError, OverflowError) as error:
                problems.append(f"read usage record: {path}: {error}")
        usages.sort(key=_order)
        return Records(tuple(usages), tuple(problems))

    def _files(self) -> Iterable[Path]:
        """The record files; temporary ones of dead writers are removed on the way."""
        folder = self.directory / "tasks"
        try:
            names = sorted(folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise store_error("read usage records", error, folder) from error
        for path in filter(is_temporary, names):
            try:
                clean_temporary(path)
            except OSError:
                pass  # whoever may read records need not be able to remove files beside them
        return [path for path in names if is_record(path.name)]


def _order(usage: Usage) -> tuple[int, int, int, int]:
    """By task and attempt; there the task itself, and then its ranks."""
    step = int(usage.step) if usage.step.isdigit() else -1
    task, rank = (-1 if number is None else number for number in (usage.task, usage.rank))
    return (task, usage.attempt, step, rank)


def _settled(usage: Usage) -> Usage:
    if usage.state != RUNNING:
        return usage
    identity = _identity(usage)
    if identity is None or not identity.is_here or identity.is_alive():
        return usage
    return replace(usage, state=LOST)


def _identity(usage: Usage) -> Optional[Identity]:
    document = usage.extra.get(PROCESS)
    return None if document is None else Identity.from_mapping(document)


def _checked(usage: Usage) -> Usage:
    """The usage itself if its fields have their types, so that no reader trips over a damaged record."""
    for field in fields(usage):
        value = getattr(usage, field.name)
        if not _fits(field.name, value):
            raise ValueError(f"{field.name}: {value!r} is not of its type")
    return usage


def _fits(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return False
    if name in _TEXTS:
        return _is_text(value)
    if name in _WHOLE:
        return isinstance(value, int)
    if name in ("task", "rank"):
        return value is None or isinstance(value, int)
    if name == "command":
        return isinstance(value, tuple) and all(isinstance(word, str) for word in value)
    if name not in _NUMBERS or (value is None and name != "started"):
        return True
    return isinstance(value, (int, float)) and math.isfinite(value)  # JSON of Python's knows NaN


def _is_text(value: object) -> bool:
    # A lone surrogate can be told by JSON and by nobody else.
    return isinstance(value, str) and value == value.encode("utf-8", "replace").decode("utf-8")
