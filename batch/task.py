"""One task of a job, on the node where it runs: prepare once, run, account."""

from __future__ import annotations

import logging
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import FrameType
from typing import Optional

from udocker import api

from .accounting.records import ENDED, RUNNING, JobRecords
from .accounting.sampler import Measurement, measure
from .environment import TaskIdentity, allocated_cores, passed_variables, task_identity
from .prepare import WARM, Preparation
from .staging import Place, place_of
from .taskspec import TaskSpec
from .usage import Usage

_LOG = logging.getLogger(__name__)
# What a Measurement and a Usage have in common, by the same names.
_MEASURED = tuple(field.name for field in fields(Measurement) if field.name != "signal")


def run_task(config: api.Config, spec: TaskSpec, environ: Mapping[str, str]) -> int:
    """Run the task that ``environ`` tells of; returns the program's exit status.

    A task whose container cannot be made, or that is stopped before, leaves a record too.
    Raises UdockerError.
    """
    config = spec.config(config)
    identity = task_identity(environ)
    record = _Record(config, spec, identity, allocated_cores(environ))
    with ExitStack() as kept:
        try:
            with terminable():
                keep = identity.task is not None  # more tasks of an array are likely to come here
                place = kept.enter_context(place_for(config, spec, environ, keep))
            if spec.prepare_only:
                record.end_prepared(place.preparation)
                return 0
            container = place.preparation.container
            argv, env, cwd = api.plan(place.config, container, run_spec(spec, environ), environ)
        except api.UdockerError as error:
            record.end_failed(error.message, error.exit_status)
            raise
        except SystemExit as stopped:
            record.end_failed("ended by a signal while the image was prepared", int(stopped.code or 0))
            raise
        record.prepared(place.preparation)
        started = measure(argv, env, cwd, on_start=record.running, on_end=record.measured)
        return started.exit_status


@contextmanager
def place_for(config: api.Config, spec: TaskSpec, environ: Mapping[str, str], keep: bool) -> Iterator[Place]:
    """Where the task's container is ready, as ``place_of``; raises UdockerError."""
    if spec.container:
        yield Place(config, Preparation(spec.image, api.find_container(config, spec.container), WARM, 0.0))
        return
    with place_of(config, spec.image, spec.stage, environ, spec.prefetch, keep) as place:
        yield place


def run_spec(spec: TaskSpec, environ: Mapping[str, str]) -> api.RunSpec:
    """What to run in it, with the batch system's variables of ``environ``."""
    # Relative sources of binds were made absolute at submission.
    mounts = tuple(api.Mount.parse(text, spec.directory or "/") for text in spec.mounts)
    return api.RunSpec(
        command=spec.command,
        entrypoint=spec.entrypoint,
        env=(*passed_variables(environ), *spec.env),
        workdir=spec.workdir,
        user=spec.user,
        mounts=mounts,
        mode=api.ExecutionMode.parse(spec.mode) if spec.mode else None,
        nvidia=spec.nvidia,
    )


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM unwind, so that a cancelled task gives its lock to the others at once."""

    def leave(number: int, _: Optional[FrameType]) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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


class _Record:
    """The task's usage record, through its states.

    A record that cannot be written is logged and costs the task nothing: its program's result is worth more.
    """

    def __init__(
        self, config: api.Config, spec: TaskSpec, identity: TaskIdentity, cores: Optional[int]
    ) -> None:
        self._enabled = spec.usage
        self._records = JobRecords(Path(config.udocker_dir), identity.scheduler, identity.job)
        self._usage = Usage(
            job=identity.job,
            task=identity.task,
            attempt=identity.attempt,
            host=socket.gethostname(),
            image=spec.image or spec.container,
            digest=spec.image.partition("@")[2],
            command=spec.command,
            state=RUNNING,
            started=time.time(),
            pid=os.getpid(),
            scheduler=identity.scheduler,
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
        values = {name: getattr(measurement, name) for name in _MEASURED}
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

    def _write(self) -> None:
        if not self._enabled:
            return
        try:
            self._records.write(self._usage)
        except api.UdockerError as error:
            _LOG.warning("usage record: %s", error)
