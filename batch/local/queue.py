"""The queue on disk: job ids, what was submitted, and what has become of each task.

Below ``<udocker_dir>/batch/local``::

    ids/<n>                        an empty file: number n is taken, by a job or by a task of an array
    jobs/<n>/job.json, script      what was submitted; a directory without job.json is no job yet
    jobs/<n>/tasks/<t>.started     which process runs task t; whoever makes this file runs it, nobody else
    jobs/<n>/tasks/<t>.ended       how it ended; a task with neither file is pending
    jobs/<n>/cancel                somebody asked to cancel the job
    jobs/<n>/ended                 all tasks have ended; holds ``completed`` if all of them did well
    jobs/<n>/supervisor.*          its lock (flock), its identity and its log
    slots/<host>/<k>               core k; locked (flock) while a task uses it

Numbers and cores are those of everybody who shares the store; a job's directory is its submitter's alone.
Every file is written whole or not at all, so that any process may be killed at any time.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Optional

from udocker.api import StoreError, make_store_directory

from ..errors import JobUnknown
from ..files import store_error, write_atomically
from ..identity import Identity
from ..jobspec import ArraySpec
from ..scheduler import JobState

Task = Optional[int]


@dataclass(frozen=True)
class Submission:
    """What was submitted; times in seconds, memory in bytes, 0 for no limit.

    ``directory`` is the job's, ``submit_directory`` where its submitter was.  ``environment`` is what every
    task starts with; ``after`` is a job that must have succeeded first.
    """

    name: str
    directory: str
    submit_directory: str
    submit_host: str
    environment: Mapping[str, str] = field(repr=False)
    array: str = ""
    stdout: str = ""
    stderr: str = ""
    cpus: int = 1
    memory: int = 0
    time_limit: int = 0
    umask: int = 0o022
    after: Optional[int] = None


@dataclass(frozen=True)
class Started:
    """Who runs a task: its own job id and the process that watches over it."""

    own_id: int
    time: float
    process: Identity


@dataclass(frozen=True)
class Ended:
    """How a task ended; ``exit_status`` is its program's, or 128 + signal, or None if it has none."""

    state: JobState
    exit_status: Optional[int] = None
    reason: str = ""
    time: float = 0.0


class Queue:
    """All local jobs below one UDOCKER_DIR.  Raises StoreError when that cannot be read or written."""

    def __init__(self, udocker_dir: Path) -> None:
        self.udocker_dir = udocker_dir
        self.root = udocker_dir / "batch" / "local"

    def new_id(self, hint: int = 0) -> int:
        """A number that nobody else gets: exclusive creation is atomic, on shared file systems too."""
        try:
            folder = self.root / "ids"
            make_store_directory(self.udocker_dir, folder)
            number = hint or max((int(name) for name in os.listdir(folder) if name.isdigit()), default=0)
            while True:
                number += 1
                try:
                    (folder / str(number)).touch(mode=0o600, exist_ok=False)
                except FileExistsError:
                    continue
                return number
        except OSError as error:
            raise store_error("allocate a job id", error, self.root) from error

    def submit(self, submission: Submission, script: str) -> Job:
        """Keep a job, whole or not at all; nobody runs it yet."""
        number = self.new_id()
        folder = self.root / "jobs" / str(number)
        try:
            make_store_directory(self.udocker_dir, folder.parent)
            folder.mkdir(mode=0o700)  # the environment may hold secrets: nobody else may read it
            (folder / "tasks").mkdir(mode=0o700)
            (folder / "script").write_bytes(os.fsencode(script))
            write_atomically(folder / "job.json", json.dumps(asdict(submission)))
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)  # the error that is raised tells of the trouble
            raise store_error("submit", error, folder) from error
        return Job(self, number, submission)

    def job(self, number: int) -> Job:
        """A submitted job; raises JobUnknown."""
        path = self.root / "jobs" / str(number) / "job.json"
        try:
            document = json.loads(path.read_text(encoding="ascii"))
            return Job(self, number, Submission(**document))
        except FileNotFoundError:
            raise JobUnknown(f"local job {number}: no such job below {self.root}") from None
        except PermissionError:
            raise JobUnknown(f"local job {number}: it is another user's", "ask who submitted it") from None
        except OSError as error:
            raise store_error(f"local job {number}", error, path) from error
        except (TypeError, ValueError) as error:
            raise JobUnknown(f"local job {number}: {path}: damaged: {error}") from error


class Job:
    """One submitted job.

    Its methods raise OSError when the queue cannot be read or written, StoreError when a file is damaged.
    """

    def __init__(self, queue: Queue, number: int, submission: Submission) -> None:
        self.queue = queue
        self.number = number
        self.submission = submission
        self.array = ArraySpec.parse(submission.array) if submission.array else None
        self.folder = queue.root / "jobs" / str(number)

    @property
    def script(self) -> Path:
        return self.folder / "script"

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks in order; one without a number for a job that is no array."""
        return self.array.indices if self.array else (None,)

    @property
    def is_removed(self) -> bool:
        """Whether somebody has removed the job's directory; False while its file server is away."""
        try:
            self.folder.stat()
        except FileNotFoundError:
            return True
        except OSError:
            return False  # whatever is done next will tell the trouble
        return False

    @property
    def is_cancelled(self) -> bool:
        return (self.folder / "cancel").exists()

    def cancel(self) -> None:
        """Ask for the end of whatever has not ended yet."""
        (self.folder / "cancel").touch(mode=0o600)

    @property
    def outcome(self) -> str:
        """``completed`` or ``failed`` once all tasks have ended, before that nothing."""
        try:
            return (self.folder / "ended").read_text(encoding="ascii")
        except FileNotFoundError:
            return ""

    def finish(self) -> None:
        """Note that all tasks have ended."""
        states = {ended.state for ended in self.all_ended().values()}
        outcome = "completed" if states == {JobState.COMPLETED} else "failed"
        write_atomically(self.folder / "ended", outcome)

    def begin(self, task: Task, started: Started) -> bool:
        """Claim a task; False if somebody else has: nothing runs twice."""
        try:
            write_atomically(self._path(task, "started"), json.dumps(asdict(started)), replace=False)
        except FileExistsError:
            return False
        return True

    def end(self, task: Task, ended: Ended) -> None:
        """Note how a task ended; the first word stands."""
        document = {**asdict(ended), "state": ended.state.value}
        try:
            write_atomically(self._path(task, "ended"), json.dumps(document), replace=False)
        except FileExistsError:
            pass  # its own watcher told before its death was noticed

    def started(self, task: Task) -> Optional[Started]:
        """Who runs or ran a task, if anybody."""
        document = _read(self._path(task, "started"))
        if document is None:
            return None
        process = Identity.from_mapping(document["process"])
        return Started(int(document["own_id"]), float(document["time"]), process)

    def ended(self, task: Task) -> Optional[Ended]:
        """How a task ended, if it has."""
        document = _read(self._path(task, "ended"))
        if document is None:
            return None
        return Ended(
            JobState(document["state"]), document["exit_status"], document["reason"], document["time"]
        )

    def all_started(self) -> dict[Task, Started]:
        """Every task that was started, ended or not."""
        return dict(_present((task, self.started(task)) for task in self._having("started")))

    def all_ended(self) -> dict[Task, Ended]:
        """Every task that has ended."""
        return dict(_present((task, self.ended(task)) for task in self._having("ended")))

    @property
    def supervisor(self) -> Optional[Identity]:
        """The process that last supervised the job, dead or alive."""
        document = _read(self.folder / "supervisor.json")
        return None if document is None else Identity.from_mapping(document)

    def _path(self, task: Task, kind: str) -> Path:
        return self.folder / "tasks" / f"{'job' if task is None else task}.{kind}"

    def _having(self, kind: str) -> Iterator[Task]:
        for name in os.listdir(self.folder / "tasks"):
            stem, _, suffix = name.partition(".")
            if suffix == kind:
                yield None if stem == "job" else int(stem)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise StoreError(f"local queue: {path}: damaged: {error}") from error


def _present(pairs: Any) -> Iterator[Any]:
    return ((task, value) for task, value in pairs if value is not None)
