"""The Python interface: what ``udocker_batch`` offers to programs.

``config`` is the runtime's settings, those of the environment where it is None.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional

from udocker import api

from . import submission
from .arguments import SCHEDULERS, scheduler
from .errors import InvalidJob
from .jobfile import MAX_FILE, load_job
from .jobspec import JobSpec


def submit(job: JobSpec, scheduler_name: str, *, config: Optional[api.Config] = None) -> submission.Job:
    """Submit a job to a batch system, ``slurm`` or ``local``.

    Raises UdockerError (``docs/errors.md`` has its kinds); then no job of it is left.
    """
    config = _settings(config)
    return submission.submit(config, _placed(job), scheduler(scheduler_name, config))


def job_files(job: JobSpec, scheduler_name: str, *, config: Optional[api.Config] = None) -> dict[str, str]:
    """The files that would be handed to the batch system, by name; submits nothing.

    Raises as submit does.
    """
    config = _settings(config)
    return submission.plan_job(config, _placed(job), scheduler(scheduler_name, config)).files


def find(job_id: str, scheduler_name: str = "", *, config: Optional[api.Config] = None) -> submission.Job:
    """A job that was submitted before; raises JobUnknown where its batch system has to be named."""
    config = _settings(config)
    name = scheduler_name or submission.scheduler_of(Path(config.udocker_dir), job_id, tuple(SCHEDULERS))
    return submission.Job(config, scheduler(name, config), job_id)


def load(path: os.PathLike[str], scheduler_name: str, changes: Sequence[str] = ()) -> JobSpec:
    """The job of a job file, with ``KEY=VALUE`` changes; raises InvalidJob with line and column.

    Its relative paths are taken from the current directory, as by ``udocker-batch submit``.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read(MAX_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InvalidJob(
            f"job file: {os.fspath(path)}: {reason}", "udocker-batch --help shows a job file"
        ) from None
    return load_job(text, os.path.basename(path), scheduler_name, os.getcwd(), changes, os.environ)


def _settings(config: Optional[api.Config]) -> api.Config:
    return api.Config.from_environment(os.environ) if config is None else config


def _placed(job: JobSpec) -> JobSpec:
    return replace(job, directory=os.path.abspath(job.directory))
