"""The usage record that a task or a rank keeps of itself, through its states."""

from __future__ import annotations

import json
import os
import stat
import time

from udocker.api import TYPE_CHECKING, Config, Log, UdockerError, accounting_program, replace, warn_as

from .accounting.written import ENDED, RUNNING, identified, job_directory, record_path, write_record
from .files import temporary_beside
from .usage import Usage

if TYPE_CHECKING:
    from typing import Optional

    from .accounting.sampler import Measurement
    from .environment import TaskIdentity
    from .prepare import Preparation
    from .taskspec import TaskSpec

_LOG = Log(__name__)
# What udocker-account adds.
_AT_THE_END = frozenset(
    {
        "state",
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
    }
)


class Recording:
    """The record of a task or a rank.

    One that cannot be written is logged and costs nothing more: the program's result is worth more.
    """

    def __init__(self, config: Config, spec: TaskSpec, identity: TaskIdentity, cores: Optional[int]) -> None:
        self._enabled = spec.usage
        self._udocker_dir = config.udocker_dir
        self._directory = job_directory(config.udocker_dir, identity.scheduler, identity.job)
        self._usage = Usage(
            job=identity.job,
            task=identity.task,
            attempt=identity.attempt,
            host=os.uname().nodename,
            image=spec.image or spec.container,
            digest=spec.image.partition("@")[2],
            command=spec.command,
            state=RUNNING,
            started=time.time(),
            pid=os.getpid(),
            scheduler=identity.scheduler,
            step=identity.step,
            rank=identity.rank,
            extra={**_outputs(), **({} if cores is None else {"cpus": cores})},
        )

    def prepared(self, preparation: Preparation) -> None:
        """Keep what was done for the container."""
        self._usage = replace(
            self._usage,
            prepare=preparation.role,
            prepare_seconds=round(preparation.seconds, 3),
            extra={**self._usage.extra, "pulled": preparation.pulled},
        )

    def running(self, pid: int) -> None:
        """The program has started."""
        self._usage = replace(self._usage, started=time.time(), pid=os.getpid())
        self._write()

    def measured(self, measurement: Measurement) -> None:
        """The program has ended."""
        # All but the signal is in a Usage by the same names.
        values = {name: value for name, value in vars(measurement).items() if name != "signal"}
        self._usage = replace(self._usage, state=ENDED, **values)
        self._write()

    def end_prepared(self, preparation: Preparation) -> None:
        """A job that only prepares has ended well."""
        self.prepared(preparation)
        self._usage = replace(self._usage, state=ENDED, ended=time.time(), exit_status=0)
        self._write()

    def end_failed(self, error: str, status: int) -> None:
        """The program was never started."""
        extra = {**self._usage.extra, "error": error}
        self._usage = replace(self._usage, state=ENDED, ended=time.time(), exit_status=status, extra=extra)
        self._write()

    def accounted(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """A command line that runs ``argv`` and completes the record, for this process to become.

        The record says from now on that the program runs.
        """
        if not self._enabled:
            return argv
        self.running(os.getpid())
        path = record_path(self._directory, self._usage)
        try:
            return (accounting_program(), str(self._begun()), temporary_beside(path), path, *argv)
        except (UdockerError, OSError) as error:  # Linux before 3.17 has no such files
            _warn(error)
            return argv

    def _begun(self) -> int:
        """A file without a name that holds what is known of the record, as that program expects it."""
        document = json.loads(identified(self._usage).to_json())
        known = {name: value for name, value in document.items() if name not in _AT_THE_END}
        fd = os.memfd_create("usage", 0)  # not closed by an exec
        text = json.dumps(known).encode("ascii")
        os.write(fd, text[:-1])  # without the closing brace
        return fd

    def _write(self) -> None:
        if not self._enabled:
            return
        try:
            write_record(self._udocker_dir, self._directory, self._usage)
        except UdockerError as error:
            _warn(error)


def _warn(error: Exception) -> None:
    warn_as("udocker-batch")
    _LOG.warning("usage record: %s", error)


def _outputs() -> dict[str, str]:
    """The files that standard output and error go to, where they are files: proc(5), /proc/PID/fd."""
    found = {}
    for number, name in ((1, "stdout"), (2, "stderr")):
        try:
            path = os.readlink(f"/proc/self/fd/{number}")
            if stat.S_ISREG(os.fstat(number).st_mode) and path.startswith("/"):
                found[name] = path
        except OSError:
            pass  # closed, or of a host without /proc: nothing is known then
    return found
