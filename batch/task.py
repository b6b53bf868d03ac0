"""One task of a job, on the node where it runs: prepare once, run, account."""

from __future__ import annotations

import gc
import signal
from collections.abc import Mapping
from contextlib import ExitStack

from udocker import api

from .environment import allocated_cores, passed_variables, task_identity
from .prepare import WARM, Place, Preparation, Ready, prepare_all
from .recording import Recording

if api.TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import FrameType
    from typing import Optional

    from .taskspec import TaskSpec


def run_task(config: api.Config, spec: TaskSpec, environ: Mapping[str, str]) -> int:
    """Run the task that ``environ`` tells of; returns the program's exit status.

    A task whose container cannot be made, or that is stopped before, leaves a record too.
    Raises UdockerError.
    """
    config = spec.config(config)
    identity = task_identity(environ)
    record = Recording(config, spec, identity, allocated_cores(environ))
    keep = identity.task is not None  # more tasks of an array are likely to come here
    with ExitStack() as kept:
        with Recorded(record):
            with Terminable():
                place = kept.enter_context(place_for(config, spec, environ, keep))
            if spec.prepare_only:
                record.end_prepared(place.preparation)
                return 0
            container = place.preparation.container
            argv, env, cwd = api.plan(place.config, container, run_spec(spec, environ), environ)
        record.prepared(place.preparation)
        from .accounting.sampler import measure  # not for tasks that wait for their image

        gc.enable()
        started = measure(argv, env, cwd, on_start=record.running, on_end=record.measured)
        return started.exit_status


def place_for(
    config: api.Config, spec: TaskSpec, environ: Mapping[str, str], keep: bool
) -> AbstractContextManager[Place]:
    """Where the task's container is ready, once that is entered, as ``place_of``; raises UdockerError."""
    if spec.container:
        return Ready(
            lambda: Place(
                config, Preparation(spec.image, api.find_container(config, spec.container), WARM, 0.0)
            )
        )
    if spec.stage == "shared":
        return Ready(lambda: prepare_all(config, spec.image, environ, spec.prefetch))
    from .staging import place_of

    return place_of(config, spec.image, spec.stage, environ, spec.prefetch, keep)


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


class Terminable:
    """While it is entered SIGTERM unwinds, so that a cancelled task gives its lock to the others at once."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, self._leave)

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    @staticmethod
    def _leave(number: int, _: Optional[FrameType]) -> None:
        raise SystemExit(128 + number)


class Recorded:
    """A failure in the block is written down, before it goes on."""

    def __init__(self, record: Optional[Recording]) -> None:
        self._record = record

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: Optional[BaseException], __: object) -> None:
        if self._record is None:
            return
        if isinstance(error, api.UdockerError):
            self._record.end_failed(error.message, error.exit_status)
        elif isinstance(error, SystemExit):
            said = "ended by a signal while the image was prepared"
            self._record.end_failed(said, int(error.code or 0))
