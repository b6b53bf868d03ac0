"""Writing a usage record: what a task does, and therefore all that it imports of records.

``<udocker_dir>/batch/jobs/<scheduler>-<job>/tasks/<task or "job">.<attempt>.json`` holds one Usage, that of a
rank ``<task or "job">.<attempt>.<step>.<rank>.json``.  Tasks on many nodes write there at once; each writes
its own file, whole or not at all.
"""

from __future__ import annotations

import os
import re

from udocker.api import TYPE_CHECKING, make_store_directory, replace

from ..errors import InvalidJob
from ..files import store_error, write_atomically
from ..identity import Identity

if TYPE_CHECKING:
    from _typeshed import StrPath

    from ..usage import Usage

RUNNING = "running"
ENDED = "ended"
LOST = "lost"

# The entry of Usage.extra that identifies the task's process, so that its death can be told.
PROCESS = "process"

_SCHEDULER = r"[a-z][a-z0-9]{0,31}"
# What batch systems name their jobs: 17, 17[].server (PBS), 17.0 (HTCondor), 17+0 (Slurm).
_JOB = r"[A-Za-z0-9][A-Za-z0-9._+@\[\]-]{0,199}"
# What is_record takes for one, of a task or of a rank.
_RECORD = r"(?:job|\d{1,10})\.\d{1,10}(?:\.\d{1,10}\.\d{1,10})?\.json"


def job_directory(udocker_dir: StrPath, scheduler: str, job: str) -> str:
    """Where the records of a job lie; raises InvalidJob for names that cannot be a directory's."""
    if not re.fullmatch(_SCHEDULER, scheduler):
        raise InvalidJob(f"usage records: scheduler {scheduler!r}: not a name of letters and digits")
    if not re.fullmatch(_JOB, job):
        raise InvalidJob(f"usage records: job {job!r}: not a job id", "give the id that submit printed")
    return os.path.join(udocker_dir, "batch", "jobs", f"{scheduler}-{job}")


def record_path(directory: StrPath, usage: Usage) -> str:
    """The file for a record of a job; raises InvalidJob."""
    if usage.attempt < 0 or (usage.task is not None and usage.task < 0):
        raise InvalidJob(f"usage record: task {usage.task}, attempt {usage.attempt}: negative")
    step = "" if usage.rank is None else f".{usage.step}.{usage.rank}"
    name = f"{'job' if usage.task is None else usage.task}.{usage.attempt}{step}.json"
    return os.path.join(directory, "tasks", name)


def is_record(name: str) -> bool:
    """Whether a file is called as ``record_path`` calls them."""
    return re.fullmatch(_RECORD, name) is not None


def write_record(udocker_dir: StrPath, directory: StrPath, usage: Usage) -> str:
    """Write or replace the record of one attempt of the job of ``directory``; returns its path.

    A running record of this host gets the identity of its process ``pid`` added to ``extra``.  Raises
    StoreError.
    """
    path = record_path(directory, usage)
    text = identified(usage).to_json()
    try:
        try:
            write_atomically(path, text)
        except FileNotFoundError:  # the first of the job
            make_store_directory(udocker_dir, os.path.dirname(path))
            write_atomically(path, text)
    except OSError as error:
        raise store_error("write usage record", error, path) from error
    return path


def identified(usage: Usage) -> Usage:
    """A running record of this host, with the identity of its process."""
    if usage.state != RUNNING or PROCESS in usage.extra or usage.host != os.uname().nodename:
        return usage
    try:
        identity = Identity.of(usage.pid)
    except ProcessLookupError:
        return usage  # it has ended already, and the record of that comes next
    return replace(usage, extra={**usage.extra, PROCESS: identity.to_mapping()})
