"""Seeing to it that a job has a supervisor, whatever happened to the one that it had."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from ..errors import BatchError
from .queue import Job


def revive(job: Job) -> None:
    """Have a job supervised that has not ended, unless it is already or belongs to another host.

    Raises BatchError with the new supervisor's words when it cannot start.
    """
    if job.submission.submit_host != socket.gethostname() or job.outcome:
        return
    supervisor = job.supervisor
    if supervisor is not None and supervisor.is_here and supervisor.is_alive():
        return
    argv = [sys.executable, "-m", "udocker_batch.local", "supervise"]
    argv += ["--udocker-dir", str(job.queue.udocker_dir), str(job.number)]
    try:
        # It detaches itself and returns, so that nobody has a child to wait for.  Python looks for modules
        # in the current directory first, where a user's json.py may lie.
        done = subprocess.run(argv, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise BatchError(f"supervise: local job {job.number}: {argv[0]}: {error.strerror}") from error
    if done.returncode != 0:
        words = os.fsdecode(done.stderr).strip().removeprefix("udocker-batch local: ")
        raise BatchError(words or f"supervise: local job {job.number}: exit status {done.returncode}")
