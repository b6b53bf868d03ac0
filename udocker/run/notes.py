"""What runs in the foreground on this node: a note for each, in a directory of the user on the node.

A program in the foreground takes the place of udocker, so that nobody is there to take the note away when it
ends: whether the process of a note lives is asked each time, and who writes one clears some of the dead.
Nothing is written into the store, which nodes share and which may be one's own to read only.
"""

from __future__ import annotations

import json
import os
import stat
import time

from udocker.engine.base import Launch
from udocker.log import Log
from udocker.model.container import Container
from udocker.model.runrecord import RUN, RunRecord
from udocker.system.process import ProcessIdentity, start_time
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

# As many notes of others are looked at by who writes one: on the average more than come to be.
_SWEPT = 4
_LARGEST = 1 << 24
_LOG = Log(__name__)


def note(
    container: Container, launch: Launch, mode: str, kind: str = RUN, ports: tuple[tuple[str, str], ...] = ()
) -> Optional[str]:
    """Note that this process is about to become the container's program; returns the note's path.

    None where nothing can be written down: the run is not known then, and goes on.
    """
    process = ProcessIdentity.current()
    record = RunRecord(
        container.id,
        container.directory,
        kind,
        mode,
        launch.argv,
        launch.env,
        process,
        process,
        time.time(),
        ports,
    )
    directory = _directory()
    path = os.path.join(directory, f"{container.id}.{_key(process)}.{process.pid}.{process.start}")
    try:
        _make(directory)
        if not _is_private(directory):
            _LOG.debug("run: %s: not noted: the directory is not this user's alone", path)
            return None
        _write(path, json.dumps(record.to_json()).encode())
    except OSError as error:
        _LOG.debug("run: %s: not noted: %s", path, error.strerror)
        return None
    _sweep(directory, _key(process))
    return path


def drop(path: Optional[str]) -> None:
    """Take a note back, if it was written."""
    if path is not None:
        _remove(path)


def noted(container_id: str = "") -> Iterator[RunRecord]:
    """The programs of this user and node that live, of one container or all; clears what is of the dead."""
    directory = _directory()
    for name in _names(directory) if _is_private(directory) else ():
        if not name.startswith(f"{container_id}." if container_id else ""):
            continue
        path = os.path.join(directory, name)
        try:
            with open(path, "rb") as file:
                record = RunRecord.from_json(json.loads(file.read(_LARGEST)))
        except (OSError, ValueError):
            if _is_dead(name, _key(ProcessIdentity.current())):
                _remove(path)
            continue  # it is being written, or was cut short
        if record.keeper.is_dead() is False:
            yield record
        elif _is_over(record.keeper):
            _remove(path)


def _is_over(keeper: ProcessIdentity) -> bool:
    """Whether a process is dead: of another boot is over as well, for no two nodes share the directory."""
    return keeper.is_dead() is True or keeper.boot != ProcessIdentity.current().boot


def _sweep(directory: str, key: str) -> None:
    names = _names(directory)
    start = int.from_bytes(os.urandom(4), "little") % max(1, len(names))
    for name in (names[start:] + names[:start])[:_SWEPT]:
        if _is_dead(name, key):
            _remove(os.path.join(directory, name))


def _is_dead(name: str, key: str) -> bool:
    """Whether a note is of a process of this boot and pid namespace that has ended."""
    parts = name.split(".")
    if len(parts) != 4 or parts[1] != key or not (parts[2].isdecimal() and parts[3].isdecimal()):
        return False
    return start_time(int(parts[2])) != int(parts[3])


def _key(process: ProcessIdentity) -> str:
    """The boot and the pid namespace, "pid:[4026531836]", in a file's name."""
    return f"{process.boot}-{process.namespace[5:-1]}"


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return  # somebody else was faster


def _write(path: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(path, flags, 0o600)
    try:
        os.write(file, content)
    finally:
        os.close(file)


def _make(directory: str) -> None:
    for path in (os.path.dirname(directory), directory):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue  # whose it is _is_private asks


def _is_private(directory: str) -> bool:
    """Whether only this user can have written there: anybody could have made it in /tmp."""
    for path in (os.path.dirname(directory), directory):
        try:
            info = os.lstat(path)
        except OSError:
            return False
        if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.geteuid() or info.st_mode & 0o022:
            return False
    return True


def _directory() -> str:
    return f"/tmp/udocker-{os.geteuid()}/runs"
