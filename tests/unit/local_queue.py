"""What the tests of the local scheduler share: submitting, asking and waiting, by its own command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

from udocker_batch.jobspec import ArraySpec, JobSpec
from udocker_batch.local.queue import Job, Queue
from udocker_batch.local.scheduler import LocalScheduler
from udocker_batch.scheduler import Command, Finished, TaskStatus

PATIENCE = 60.0


def until(what: str, condition: Callable[[], Any]) -> Any:
    """Wait until ``condition`` gives something true, and return that."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {PATIENCE:.0f} s for {what}")


class LocalQueue:
    """A queue below a directory of a test, used through LocalScheduler."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scheduler = LocalScheduler("udocker-batch", folder / "udocker")

    def run(self, command: Command, environ: Optional[Mapping[bytes, bytes]] = None) -> Finished:
        """What batch/submission.py does with a command, here with the module in place of the program."""
        assert command.argv[:2] == ("udocker-batch", "local")
        done = subprocess.run(
            [sys.executable, "-m", "udocker_batch.local", *command.argv[2:]],
            input=os.fsencode(command.stdin),
            env=environ,
            cwd=self.folder,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        return Finished(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))

    def submit(
        self,
        script: str,
        *,
        array: str = "",
        after: Optional[str] = None,
        environ: Optional[Mapping[bytes, bytes]] = None,
        **fields: Any,
    ) -> str:
        job = JobSpec(
            "debian:12",
            array=ArraySpec.parse(array) if array else None,
            **{"directory": str(self.folder), **fields},
        )
        command = self.scheduler.submit_command(job, {"script": f"#!/bin/sh\n{script}\n"}, after)
        return self.scheduler.parse_submitted(self.run(command, environ))

    def status(self, job: str) -> list[TaskStatus]:
        finished = self.run(self.scheduler.status_command(job))
        return list(self.scheduler.parse_status(job, finished))

    def cancel(self, job: str) -> None:
        finished = self.run(self.scheduler.cancel_command(job))
        assert finished.status == 0, finished.stderr

    def states(self, job: str) -> list[str]:
        return [task.state.value for task in self.status(job)]

    def wait(self, job: str) -> list[TaskStatus]:
        """Every task once all have ended."""

        def ended() -> list[TaskStatus]:
            tasks = self.status(job)
            return tasks if all(task.state.ended for task in tasks) else []

        return until(f"the end of job {job}", ended)  # type: ignore[no-any-return]

    def on_disk(self, job: str) -> Job:
        return Queue(self.folder / "udocker").job(int(job))

    def supervisor(self, job: str) -> int:
        identity = self.on_disk(job).supervisor
        assert identity is not None
        return identity.pid

    def watcher(self, job: str, task: Optional[int] = None) -> int:
        started = self.on_disk(job).started(task)
        assert started is not None
        return started.process.pid

    def document(self, job: str) -> Any:
        return json.loads((self.on_disk(job).folder / "job.json").read_text())

    def stop_everything(self) -> None:
        """Cancel all jobs, so that no test leaves a process behind."""
        jobs = self.folder / "udocker/batch/local/jobs"
        numbers = [entry.name for entry in jobs.iterdir()] if jobs.exists() else []
        for number in numbers:
            if (jobs / number / "job.json").exists():
                self.run(self.scheduler.cancel_command(number))
        for number in numbers:
            if (jobs / number / "job.json").exists():
                self.wait(number)
