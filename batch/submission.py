"""From a JobSpec to a job, and what can be done with one afterwards, over any Scheduler."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Callable, Optional

from udocker import api

from .accounting.records import ENDED, LOST, RUNNING, JobRecords, Records
from .doubts import doubts
from .errors import BatchError, JobUnknown, SchedulerMissing, WaitTimeout
from .jobspec import JobSpec
from .reasons import OURS, our_reason
from .scheduler import Command, Finished, JobState, Scheduler, TaskStatus
from .script import kept_script
from .staging import prepare_images
from .taskspec import TaskSpec
from .usage import Usage

_LOG = logging.getLogger(__name__)
_FIRST_POLL, _LAST_POLL = 0.2, 10.0
# A job that was accepted may take a while to appear in the batch system's lists, and a controller that is
# started anew has none for a while.
_PATIENCE = 30.0

Run = Callable[[Command], Finished]


def run_command(command: Command) -> Finished:
    """Run a command of the batch system; raises SchedulerMissing where it is not installed."""
    try:
        done = subprocess.run(command.argv, input=os.fsencode(command.stdin), capture_output=True)
    except FileNotFoundError:
        raise SchedulerMissing(
            f"{command.argv[0]}: not found on this machine",
            "go to a submit host, or run here: udocker-batch submit --scheduler local",
        ) from None
    except OSError as error:
        raise BatchError(f"{command.argv[0]}: {error.strerror}") from error
    # A script's bytes are handed on as they are; what the command says is shown to people.
    stdout, stderr = (text.decode("utf-8", "backslashreplace") for text in (done.stdout, done.stderr))
    return Finished(done.returncode, stdout, stderr)


@dataclass(frozen=True)
class Plan:
    """A submission before it is made: the pinned job, its files, and the batch system's command.

    ``kept`` are files that the tasks need in the store.
    """

    job: JobSpec
    task: TaskSpec
    files: dict[str, str]
    command: Command
    kept: Mapping[Path, bytes] = field(default_factory=dict)


def plan_job(config: api.Config, job: JobSpec, scheduler: Scheduler, after: Optional[str] = None) -> Plan:
    """Pin the image to its digest and render the job; changes nothing.

    Raises RegistryError, NotFoundError, UsageError, InvalidJob, TemplateError.
    """
    pinned = _pinned(config, job)
    plan = _plan(pinned, TaskSpec.of(pinned, config), scheduler, after)
    if job.script:
        return replace(plan, kept={kept_script(config.udocker_dir, job.script): os.fsencode(job.script)})
    return plan


def plan_task(config: api.Config, job: JobSpec) -> TaskSpec:
    """The task alone, for what runs without a job script; raises as plan_job does."""
    return TaskSpec.of(_pinned(config, job), config)


def _pinned(config: api.Config, job: JobSpec) -> JobSpec:
    mounts = tuple(str(api.Mount.parse(text, job.directory or "/")) for text in job.mounts)
    prefetch = tuple(api.resolve(config, image) for image in job.prefetch)
    image = api.resolve(config, job.image) if job.image else ""
    if job.container:
        api.find_container(config, job.container)
    if job.mode:
        api.require_mode("submit", job.mode)
    pinned = replace(job, image=image, mounts=mounts, prefetch=prefetch)
    _require_command(config, pinned)
    return pinned


def _require_command(config: api.Config, job: JobSpec) -> None:
    """Raise UsageError where the tasks would have nothing to run, as far as that is known here."""
    if not job.script:
        spec = api.RunSpec(command=job.command, entrypoint=job.entrypoint)
        api.require_command(config, "submit", spec, job.image, job.container)


def _plan(job: JobSpec, task: TaskSpec, scheduler: Scheduler, after: Optional[str]) -> Plan:
    files = dict(scheduler.files(job, task.to_json()))
    return Plan(job, task, files, scheduler.submit_command(job, files, after))


def submit(config: api.Config, job: JobSpec, scheduler: Scheduler, run: Run = run_command) -> Job:
    """Submit a job; with ``prepare`` submit or job its image is prepared first, here or by another job.

    Raises RegistryError, StoreError, BatchError; then no job of it is left.
    """
    plan = plan_job(config, job, scheduler)
    for doubt in doubts(plan.job, scheduler.outputs(job)):
        _LOG.warning("submit: %s", doubt)
    if job.prepare == "submit" and job.image:
        prepare_images(config, job.stage, (plan.job.image, *plan.job.prefetch), os.environ)
        _require_command(config, plan.job)
    for path, data in plan.kept.items():
        if not path.exists():
            api.write_store_file(config, path, data)
    made: list[str] = []
    try:
        preparing = _submit_preparing(plan, scheduler, run) if job.prepare == "job" and job.image else None
        if preparing is not None:
            made.append(preparing)
            plan = _plan(plan.job, plan.task, scheduler, preparing)
        submitted = Job(config, scheduler, scheduler.parse_submitted(run(plan.command)), run)
        made.append(submitted.id)
        submitted.remember(plan.job, job.image, preparing)
    except (api.UdockerError, KeyboardInterrupt):
        for job_id in reversed(made):
            run(scheduler.cancel_command(job_id))
        raise
    return submitted


def _submit_preparing(plan: Plan, scheduler: Scheduler, run: Run) -> str:
    job = replace(
        plan.job,
        name=f"{plan.job.name or 'udocker'}-prepare",
        array=None,
        stdout="",
        stderr="",
        options=scheduler.preparing(plan.job),
    )
    task = replace(plan.task, prepare_only=True)
    return scheduler.parse_submitted(run(_plan(job, task, scheduler, None).command))


@dataclass(frozen=True)
class JobResult:
    """How every task of a job ended."""

    id: str
    tasks: tuple[TaskStatus, ...]

    @property
    def exit_status(self) -> int:
        """0 when every task completed, else the first failed one's, at least 1."""
        return exit_status(self.tasks)

    @property
    def succeeded(self) -> bool:
        """Whether every task completed."""
        return self.exit_status == 0


@dataclass(frozen=True)
class Job:
    """A job of a batch system."""

    config: api.Config
    scheduler: Scheduler
    id: str
    run: Run = run_command

    @property
    def records(self) -> JobRecords:
        """Where the job's usage records lie."""
        return JobRecords(Path(self.config.udocker_dir), self.scheduler.name, self.id)

    def remember(self, job: JobSpec, image: str = "", preparing: Optional[str] = None) -> None:
        """Keep what was submitted beside the records; ``image`` is what its user calls it.

        Raises StoreError.
        """
        array = self.scheduler.array(job)
        document = {
            "id": self.id,
            "scheduler": self.scheduler.name,
            "submitted": time.time(),
            "preparing": preparing,
            "image": image,
            "tasks": len(array.indices) if array else 1,
            "spec": {**asdict(job), "array": job.array.text if job.array else None},
        }
        text = json.dumps(document, indent=1)
        api.write_store_file(self.config, self.records.directory / "job.json", text.encode("ascii"))

    def status(self) -> Sequence[TaskStatus]:
        """Every task as the batch system tells it now; raises JobUnknown.

        A batch system whose accounting lags behind knows that a task has ended before it knows how: then
        our own record tells the exit status.  It tells the reason where the failure was ours.
        """
        tasks = self.scheduler.parse_status(self.id, self.run(self.scheduler.status_command(self.id)))
        if all(task.exit_status not in (None, *OURS) for task in tasks if task.state.ended):
            return tasks
        recorded = {usage.task: usage for usage in self.records.read().tasks}
        return [_as_recorded(task, recorded.get(task.index)) for task in tasks]

    def cancel(self) -> None:
        """Cancel what is left of the job, and of the one that prepares for it; raises JobUnknown."""
        preparing = (read_job(self.records.directory) or {}).get("preparing")
        if isinstance(preparing, str):
            self.run(self.scheduler.cancel_command(preparing))  # mostly it has ended, which is as good
        self.scheduler.parse_cancelled(self.id, self.run(self.scheduler.cancel_command(self.id)))

    def wait(
        self,
        seen: Callable[[Sequence[TaskStatus]], None] = lambda _: None,
        timeout: Optional[float] = None,
    ) -> Sequence[TaskStatus]:
        """Wait until every task has ended; ``seen`` is given each state of affairs.

        Raises JobUnknown, and WaitTimeout when that takes longer than ``timeout`` seconds.
        """
        pause = _FIRST_POLL
        begun = heard = time.monotonic()
        while True:
            try:
                tasks = self.status()
            except JobUnknown:
                if time.monotonic() - heard > _PATIENCE:
                    raise
            else:
                heard = time.monotonic()
                seen(tasks)
                if all(task.state.ended for task in tasks):
                    return tasks
            if timeout is not None and time.monotonic() - begun > timeout:
                raise WaitTimeout(f"wait: {self.scheduler.name} job {self.id}: not ended after {timeout:g} s")
            time.sleep(pause)
            pause = min(pause * 1.3, _LAST_POLL)

    def result(self, timeout: Optional[float] = None) -> JobResult:
        """How the job ended, once it has; raises as ``wait`` does."""
        return JobResult(self.id, tuple(self.wait(timeout=timeout)))

    def outputs(self, stream: str = "stdout") -> Mapping[Optional[int], Path]:
        """The file that each task that has a record wrote its ``stdout`` or ``stderr`` to."""
        written = {usage.task: usage.extra.get(stream) for usage in self.records.read().tasks}
        return {task: Path(path) for task, path in written.items() if isinstance(path, str)}

    def usage(self) -> Records:
        """The usage of every task: our own records, and the batch system's for tasks that have none.

        A record left as running of a task that the batch system calls ended is of one that was lost with
        its node, or killed with its hook.
        """
        # Asked first: a task writes its record before the batch system sees it end.
        accounted = {usage.task: usage for usage in self._accounted()}
        records = self.records.read()
        own = [_settled(usage, accounted.get(usage.task)) for usage in records.usages]
        # A task whose ranks have records has none of its own where a script on the host starts its steps.
        known = {usage.task for usage in own}
        missing = [usage for usage in accounted.values() if usage.task not in known]
        if known - {None}:
            # An accounting that lags behind tells of an array as of one task.
            missing = [usage for usage in missing if usage.task is not None]
        usages = sorted((*own, *missing), key=lambda usage: -1 if usage.task is None else usage.task)
        return Records(tuple(usages), records.problems)

    def _accounted(self) -> Sequence[Usage]:
        command = self.scheduler.usage_command(self.id)
        if command is None:
            return self._told()
        try:
            return self.scheduler.parse_usage(self.id, self.run(command))
        except SchedulerMissing:
            return ()  # the records can be read on any machine

    def _told(self) -> Sequence[Usage]:
        """How tasks ended, of a batch system that knows no more."""
        try:
            tasks = [task for task in self.status() if task.state.ended]
        except JobUnknown:
            return ()  # it has forgotten the job, and the records stand by themselves
        except BatchError as error:
            _LOG.warning("usage: of its records alone: %s", error.message)
            return ()
        return [
            Usage(
                job=self.id,
                task=task.index,
                attempt=0,
                host=task.host,
                image="",
                digest="",
                command=(),
                state=ENDED,
                started=0.0,
                exit_status=task.exit_status,
                scheduler=self.scheduler.name,
                extra={"source": "status", "scheduler_state": task.state.value},
            )
            for task in tasks
        ]

    def tasks(self) -> Optional[int]:
        """How many tasks the job has, None where it was submitted without us."""
        document = read_job(self.records.directory)
        return None if document is None else int(document["tasks"])


def _settled(usage: Usage, accounted: Optional[Usage]) -> Usage:
    """With what the batch system alone knows: that a task has ended whose record tells no end, and that its
    program was ended, as by a time-out."""
    if accounted is None or accounted.state != ENDED:
        return usage
    if usage.state in (RUNNING, LOST):
        usage = replace(usage, state=LOST, exit_status=accounted.exit_status, ended=accounted.ended)
    word = accounted.extra.get("scheduler_state")
    if word in (None, JobState.COMPLETED.value, JobState.FAILED.value):
        return usage
    return replace(usage, extra={**usage.extra, "scheduler_state": word})


def _as_recorded(task: TaskStatus, usage: Optional[Usage]) -> TaskStatus:
    if not task.state.ended:
        return task
    status = task.exit_status
    if status is None:
        unrecorded = 0 if task.state is JobState.COMPLETED else None
        status = unrecorded if usage is None or usage.exit_status is None else usage.exit_status
    reason = our_reason(usage) if status in OURS and usage is not None else ""
    return replace(task, exit_status=status, reason=reason or task.reason)


def read_job(directory: Path) -> Optional[dict[str, Any]]:
    """What ``Job.remember`` wrote; None where there is nothing, StoreError where it is damaged."""
    try:
        document = json.loads((directory / "job.json").read_bytes())
        if not isinstance(document, dict) or not isinstance(document.get("tasks"), int):
            raise ValueError("not what submit wrote")
        return document
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise api.StoreError(f"job: {directory / 'job.json'}: damaged: {error}") from None


def known_jobs(udocker_dir: Path) -> list[dict[str, Any]]:
    """What is kept of every job that was submitted from this store, in order of submission."""
    found = []
    for path in (udocker_dir / "batch" / "jobs").glob("*/job.json"):
        try:
            document = read_job(path.parent)
        except api.StoreError as error:
            _LOG.warning("%s", error.message)
            continue
        if document is not None:
            found.append(document)
    return sorted(found, key=lambda document: float(document.get("submitted") or 0))


def scheduler_of(udocker_dir: Path, job_id: str, known: Sequence[str]) -> str:
    """The batch system that a job of this id was submitted to.

    Raises JobUnknown where the id is not known here, or is that of two jobs.
    """
    names = [name for name in known if JobRecords(udocker_dir, name, job_id).directory.is_dir()]
    if len(names) == 1:
        return names[0]
    if names:
        raise JobUnknown(
            f"job {job_id}: there is one of {' and of '.join(names)}", "say which by --scheduler"
        )
    whole, _, task = job_id.partition("_")
    if task and any(JobRecords(udocker_dir, name, whole).directory.is_dir() for name in known):
        hint = f"status {whole} and logs --task={task} {whole} tell of it; cancel ends all of its tasks"
        raise JobUnknown(f"job {job_id}: a task of job {whole}, and whole jobs are named", hint)
    raise JobUnknown(
        f"job {job_id}: not known under {udocker_dir}",
        "name its batch system by --scheduler, or set UDOCKER_DIR as at submission",
    )


def exit_status(tasks: Sequence[TaskStatus]) -> int:
    """The exit status of a job: 0 when every task completed, else the first failed one's, at least 1."""
    for task in tasks:
        if task.state is not JobState.COMPLETED:
            return task.exit_status or 1
    return 0
