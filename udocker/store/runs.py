"""Runs that somebody waits for, in the background or with ``--rm``: records in the store, and their output.

::

    runs/<container's id>/<mark of the keeper>.json     the record
    runs/<container's id>/<mark of the keeper>.log      what it printed; .log.1 what it printed before

The mark tells the node, the boot and the process (udocker/system/process.py), so that every node can tell
whether the run is another node's, and this one whether it is over.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Optional

from udocker.errors import from_os_error
from udocker.model.runrecord import RunRecord
from udocker.store.nodes import Nodes
from udocker.store.paths import StorePaths
from udocker.system.files import write_atomically
from udocker.system.process import ProcessIdentity
from udocker.values import dataclass, replace

_RECORD, _LOG, _BEFORE = ".json", ".log", ".log.1"
# The record has the program's variables in it.
_PRIVATE = 0o600


class RunState(Enum):
    """What has become of a run."""

    RUNNING = "its program runs, and somebody waits for it"
    ORPHANED = "its program runs, and who waited for it is dead"
    ENDED = "it has ended, and its status is known"
    KILLED = "it has ended, and who waited for it is dead"
    ELSEWHERE = "it is another node's, and nothing is known of it"


@dataclass(frozen=True)
class KeptRun:
    """A record, where it is, and what has become of the run."""

    record: RunRecord
    path: Path
    state: RunState

    @property
    def log(self) -> Path:
        """What the program has printed lately; not there where it is not kept."""
        return self.path.with_suffix(_LOG)

    @property
    def log_before(self) -> Path:
        """What it printed before that."""
        return self.path.with_suffix(_BEFORE)

    @property
    def has_output(self) -> bool:
        """Whether what the program printed is kept."""
        return self.log.exists() or self.log_before.exists()

    @property
    def is_alive(self) -> bool:
        """Whether the program runs on this node."""
        return self.state in (RunState.RUNNING, RunState.ORPHANED)


class RunStore:
    """The directory ``runs``."""

    def __init__(self, paths: StorePaths) -> None:
        self._paths = paths

    def write(self, record: RunRecord) -> KeptRun:
        """Write a record, in place of the keeper's former one; raises StoreError."""
        directory = self._paths.runs / record.container
        path = directory / f"{record.keeper.mark()}{_RECORD}"
        content = json.dumps(record.to_json()).encode()
        try:
            self._paths.make(directory)
            try:
                write_atomically(path, content, _PRIVATE)
            except FileNotFoundError:  # it was empty, and somebody who cleans up was faster
                self._paths.make(directory)
                write_atomically(path, content, _PRIVATE)
        except OSError as error:
            raise from_os_error("run", error, str(path)) from error
        return KeptRun(record, path, RunState.ENDED if record.ended else RunState.RUNNING)

    def of(self, container_id: str) -> list[KeptRun]:
        """The user's own runs of a container, the newest first, as far as their records can be read."""
        paths = _records(self._paths.runs / container_id)
        if not paths:
            return []  # without a look at who the nodes are
        nodes = Nodes(self._paths)
        found = [_read(path, nodes) for path in paths]
        return sorted((run for run in found if run is not None), key=lambda run: -run.record.began)

    def containers(self) -> list[str]:
        """The ids of the containers that there are records of."""
        return sorted(entry.name for entry in _entries(self._paths.runs))

    def forget(self, run: KeptRun) -> None:
        """Remove a run's record and its output; raises OSError."""
        for path in (run.log_before, run.log, run.path):
            path.unlink(missing_ok=True)
        try:
            run.path.parent.rmdir()
        except OSError:
            return  # of another run

    def forget_ended(self, container_id: str, before: float) -> None:
        """Forget the runs that are over and that began earlier than a new one; raises OSError.

        ``before`` is in seconds since 1970.
        """
        for run in self.of(container_id):
            is_over = run.state in (RunState.ENDED, RunState.KILLED) and not run.record.remove
            if is_over and run.record.began < before:
                self.forget(run)

    def settle(self, run: KeptRun, ended: float) -> None:
        """Write down that a run is over whose status nobody was told; raises StoreError."""
        self.write(replace(run.record, ended=ended))


def _records(directory: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(directory) if entry.name.endswith(_RECORD)]


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    try:
        yield from os.scandir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return


def _read(path: Path, nodes: Nodes) -> Optional[KeptRun]:
    try:
        record = RunRecord.from_json(json.loads(_own_content(path)))
    except (OSError, ValueError):
        return None  # removed meanwhile, another user's, or damaged
    return KeptRun(record, path, _state(record, nodes))


def _own_content(path: Path) -> bytes:
    """What it says is executed: in a store that a group shares only a file of one's own is believed."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        info = os.fstat(file.fileno())
        if info.st_uid != os.geteuid() or not stat.S_ISREG(info.st_mode):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))
        return file.read()


def _state(record: RunRecord, nodes: Nodes) -> RunState:
    if record.ended:
        return RunState.ENDED if record.status is not None else RunState.KILLED
    keeper_is_dead = _fate(record.keeper, nodes)
    if keeper_is_dead is None:
        return RunState.ELSEWHERE
    if not keeper_is_dead:
        return RunState.RUNNING
    alive = record.program is not None and _fate(record.program, nodes) is False
    return RunState.ORPHANED if alive else RunState.KILLED


def _fate(process: ProcessIdentity, nodes: Nodes) -> Optional[bool]:
    here = process.is_dead()
    return nodes.fate(process.mark()) if here is None else here
