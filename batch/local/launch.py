"""Becoming the supervisor of a job: in its own session, with its own log, and the only one."""

from __future__ import annotations

import json
import logging
import os
import sys

from ..errors import BatchError
from ..files import store_error, write_atomically
from ..identity import Identity
from .queue import Job
from .slots import lock
from .supervisor import Supervisor

_READY = b"ready"


def supervise(job: Job) -> None:
    """Detach a supervisor and return once it has taken over; do nothing if another one works.

    Raises StoreError or BatchError when it cannot.
    """
    path = job.folder / "supervisor.lock"
    try:
        held = lock(path)
        log = os.open(path.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise store_error("supervise", error, path) from error
    if held is None:
        return
    hear, tell = os.pipe()
    if os.fork() == 0:
        os.close(hear)
        _detached(job, held, log, tell)
    os.close(tell)
    os.close(held)
    with open(hear, "rb") as answer:
        words = answer.read()
    if words != _READY:
        raise BatchError(os.fsdecode(words) or f"supervise: local job {job.number}: killed as it started")


def _detached(job: Job, held: int, log: int, tell: int) -> None:
    """The supervisor's whole life; never returns."""
    status = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDONLY)
        for number, descriptor in enumerate((null, log, log)):
            os.dup2(descriptor, number)
        os.chdir("/")
        logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(process)d %(message)s", force=True)
        _supervise(job, held, tell)
        status = 0
    except BaseException:  # the log is the only place left to tell it
        logging.getLogger(__name__).exception("job %d: supervisor failed", job.number)
    finally:
        os._exit(status)


def _supervise(job: Job, held: int, tell: int) -> None:
    supervisor = Supervisor(job, held)
    try:
        identity = json.dumps(Identity.of(os.getpid()).to_mapping())
        write_atomically(job.folder / "supervisor.json", identity)
        supervisor.recover()
    except Exception as error:
        os.write(tell, os.fsencode(f"supervise: local job {job.number}: {error}"))
        raise
    os.write(tell, _READY)
    os.close(tell)
    supervisor.run()
