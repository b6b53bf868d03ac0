"""Where the usage records of a job lie, and how they are written and read.

``<udocker_dir>/batch/jobs/<scheduler>-<job>/tasks/<task or "job">.<attempt>.json`` holds one Usage.
Tasks on many nodes write there at once; each writes its own file, whole or not at all.
"""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Optional

from udocker.api import make_store_directory

from ..errors import InvalidJob
from ..files import clean_temporary, is_temporary, store_error, write_atomically
from ..process import Identity
from ..usage import Usage

RUNNING = "running"
ENDED = "ended"
LOST = "lost"

# The entry of Usage.extra that identifies the task's process, so that its death can be told.
PROCESS = "process"

_SCHEDULER = re.compile(r"[a-z][a-z0-9]{0,31}")
# What batch systems name their jobs: 17, 17[].server (PBS), 17.0 (HTCondor), 17+0 (Slurm).
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@\[\]-]{0,199}")
_RECORD = re.compile(r"(?:job|\d{1,10})\.\d{1,10}\.json")
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
_TEXTS = frozenset({"job", "host", "image", "digest", "state", "prepare", "scheduler"})


@dataclass(frozen=True)
class Records:
    """The records of a job, ordered by task and attempt, and what could not be read, a line each."""

    usages: tuple[Usage, ...]
    problems: tuple[str, ...]


class JobRecords:
    """The usage records of one job.  Raises InvalidJob for names that cannot be a directory's."""

    def __init__(self, udocker_dir: Path, scheduler: str, job: str) -> None:
        if not _SCHEDULER.fullmatch(scheduler):
            raise InvalidJob(f"usage records: scheduler {scheduler!r}: not a name of letters and digits")
        if not _JOB.fullmatch(job):
            raise InvalidJob(f"usage records: job {job!r}: not a job id", "give the id that submit printed")
        self._udocker_dir = udocker_dir
        self.directory = udocker_dir / "batch" / "jobs" / f"{scheduler}-{job}"

    def write(self, usage: Usage) -> Path:
        """Write or replace the record of one attempt; returns its path, raises StoreError.

        A running record of this host gets the identity of its process ``pid`` added to ``extra``.
        """
        path = self.directory / "tasks" / _name(usage)
        try:
            make_store_directory(self._udocker_dir, path.parent)
            write_atomically(path, _identified(usage).to_json())
        except OSError as error:
            raise store_error("write usage record", error, path) from error
        return path

    def read(self) -> Records:
        """The latest attempt of every task; see ``read_all``."""
        found = self.read_all()
        latest = {usage.task: usage for usage in found.usages}
        return Records(tuple(latest.values()), found.problems)

    def read_all(self) -> Records:
        """Every attempt of every task; none before the first task starts.

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
        return [path for path in names if _RECORD.fullmatch(path.name)]


def _name(usage: Usage) -> str:
    if usage.attempt < 0 or (usage.task is not None and usage.task < 0):
        raise InvalidJob(f"usage record: task {usage.task}, attempt {usage.attempt}: negative")
    return f"{'job' if usage.task is None else usage.task}.{usage.attempt}.json"


def _order(usage: Usage) -> tuple[int, int]:
    return (-1 if usage.task is None else usage.task, usage.attempt)


def _identified(usage: Usage) -> Usage:
    if usage.state != RUNNING or PROCESS in usage.extra or usage.host != socket.gethostname():
        return usage
    try:
        identity = Identity.of(usage.pid)
    except ProcessLookupError:
        return usage  # it has ended already, and the record of that comes next
    return replace(usage, extra={**usage.extra, PROCESS: identity.to_mapping()})


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
    if name == "task":
        return value is None or isinstance(value, int)
    if name == "command":
        return isinstance(value, tuple) and all(isinstance(word, str) for word in value)
    if name not in _NUMBERS or (value is None and name != "started"):
        return True
    return isinstance(value, (int, float)) and math.isfinite(value)  # JSON of Python's knows NaN


def _is_text(value: object) -> bool:
    # A lone surrogate can be told by JSON and by nobody else.
    return isinstance(value, str) and value == value.encode("utf-8", "replace").decode("utf-8")
