"""``udocker-batch`` status, wait, cancel, logs and usage: what is done with a job that was submitted."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Callable, Optional

from udocker import api

from ..arguments import SCHEDULERS, seconds
from ..errors import InvalidJob, JobUnknown, SchedulerMissing, failure_lines
from ..interface import find
from ..scheduler import TaskStatus
from ..submission import Job, exit_status, known_jobs, read_job

_LISTED = 50  # the batch system is asked for each
_PAUSE = 0.5  # seconds between looks at what a task has written


def _add_arguments(parser: argparse.ArgumentParser, **jobs: str) -> None:
    """Which job is meant, or which ``jobs``."""
    parser.add_argument("job", metavar="JOBID", **jobs)  # type: ignore[arg-type]
    parser.add_argument("--scheduler", choices=tuple(SCHEDULERS), help="where two have a job of this id")


def add_status_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of ``status``."""
    _add_arguments(parser, nargs="*", help="without one, all jobs that are known here")


def add_cancel_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of ``cancel``."""
    _add_arguments(parser, nargs="+")


def add_wait_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of ``wait``."""
    _add_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="do not tell about changes")
    parser.add_argument("--timeout", type=seconds, metavar="SECONDS", help="give up then, with status 125")


def add_usage_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of ``usage``."""
    _add_arguments(parser)
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")


def add_logs_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of ``logs``."""
    _add_arguments(parser, nargs="+")
    parser.add_argument("--task", type=int, metavar="INDEX", help="of an array, this task's alone")
    parser.add_argument("--stderr", action="store_true", help="the file of errors, where it is another one")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the task has ended")


def status(config: api.Config, options: argparse.Namespace) -> int:
    """Print a line a task, of several jobs with their ids above; or without one a line for each known job."""
    if not options.job:
        return _list(config, options)
    headings = _Headings()

    def one(job: Job) -> None:
        tasks = job.status()
        if len(options.job) > 1:
            headings.print(f"job {job.id}")
        for task in tasks:
            print(_status_line(task))

    return _each(config, options, one)


def cancel(config: api.Config, options: argparse.Namespace) -> int:
    """Cancel what is left of the jobs."""
    return _each(config, options, lambda job: job.cancel())


def wait(config: api.Config, options: argparse.Namespace) -> int:
    """Wait for the end; the job's exit status."""
    last = ""

    def seen(tasks: Sequence[TaskStatus]) -> None:
        nonlocal last
        line = _counted(tasks)
        if line != last and not options.quiet:
            print(f"job {options.job}: {line}", file=sys.stderr)
        last = line

    return exit_status(_job(config, options).wait(seen, options.timeout))


def logs(config: api.Config, options: argparse.Namespace) -> int:
    """Print what tasks wrote, of several with their indices above."""
    if options.follow and len(options.job) > 1:
        raise InvalidJob(f"logs: --follow: {len(options.job)} jobs", "name one to follow it")
    headings = _Headings()

    def one(job: Job) -> None:
        if options.follow:
            _follow(job, options)
        else:
            _print_logs(job, options, headings)

    return _each(config, options, one)


def usage(config: api.Config, options: argparse.Namespace) -> int:
    """Print the usage records."""
    from ..accounting.report import usage_csv, usage_json, usage_table

    job = _job(config, options)
    records = job.usage()
    for problem in records.problems:
        print(f"udocker-batch: usage: {problem}", file=sys.stderr)
    if not records.usages and job.tasks() is None:
        where = f"usage: {job.scheduler.name} job {job.id}"
        raise api.NotFoundError(f"{where}: no records", "see udocker-batch status")
    if options.format == "table":
        from rich.console import Console

        # A table that is read by a program or a file must not be folded to the width of nothing.
        console = Console(width=None if sys.stdout.isatty() else 160)
        title = f"{job.scheduler.name} job {job.id}"
        console.print(usage_table(records.usages, tasks=job.tasks(), title=title))
        return 0
    if options.format == "csv":
        text = usage_csv(records.usages)
    else:
        text = usage_json(records.usages, tasks=job.tasks())
    print(text, end="" if text.endswith("\n") else "\n")
    return 0


class _Headings:
    """The lines above what is printed of several jobs and tasks."""

    def __init__(self) -> None:
        self._begun = False

    def print(self, text: str) -> None:
        print(f"{chr(10) if self._begun else ''}==> {text} <==", flush=True)
        self._begun = True


def _each(config: api.Config, options: argparse.Namespace, act: Callable[[Job], None]) -> int:
    """Do ``act`` for every job that is named, whatever becomes of the others.

    The exit status of the last one that failed, which is told, else 0.
    """
    status = 0
    for job_id in options.job:
        try:
            act(find(job_id, options.scheduler or "", config=config))
        except api.UdockerError as error:
            sys.stdout.flush()
            print(failure_lines("udocker-batch", error), file=sys.stderr)
            status = error.exit_status
    return status


def _print_logs(job: Job, options: argparse.Namespace, headings: _Headings) -> None:
    outputs = _outputs(job, options)
    if options.task is not None and all(task.index != options.task for task in job.status()):
        raise api.NotFoundError(f"logs: job {job.id}: no task {options.task}", "see udocker-batch status")
    if not outputs:
        raise api.NotFoundError(
            f"logs: {job.scheduler.name} job {job.id}: no task has told where its output is",
            _no_output(job),
        )
    several = len(options.job) > 1
    for task, path in sorted(outputs.items(), key=lambda item: item[0] or 0):
        if several or len(outputs) > 1:
            names = (f"job {job.id}" if several else "", "" if task is None else f"task {task}")
            headings.print(" ".join(filter(None, names)))
        with _opened(path) as stream:
            _copy(stream)


def _list(config: api.Config, options: argparse.Namespace) -> int:
    jobs = [
        document
        for document in known_jobs(Path(config.udocker_dir))
        if options.scheduler in (None, document.get("scheduler"))
    ]
    for document in jobs[-_LISTED:]:
        spec = document.get("spec") or {}
        name = spec.get("name") or "-"
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(document.get("submitted") or 0)))
        job_id, where = str(document.get("id")), str(document.get("scheduler"))
        image = document.get("image") or spec.get("image") or spec.get("container")
        line = f"{job_id:<8} {where:<6} {when} {name:<16} {image}"
        print(f"{line}  {_states(config, job_id, where)}")
    if len(jobs) > _LISTED:
        print(f"udocker-batch: status: {len(jobs) - _LISTED} older jobs are left out", file=sys.stderr)
    return 0


def _states(config: api.Config, job_id: str, where: str) -> str:
    try:
        return _counted(find(job_id, where, config=config).status())
    except (JobUnknown, SchedulerMissing):
        return "forgotten by the batch system"


def _counted(tasks: Sequence[TaskStatus]) -> str:
    counts = Counter(task.state.value for task in tasks)
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def _no_output(job: Job) -> str:
    """What to look for where no task has told of its output."""
    spec = (read_job(job.records.directory) or {}).get("spec") or {}
    if not spec.get("usage", True):
        return "usage records, which tell, are switched off for it"
    ended = [task for task in job.status() if task.state.ended]
    if not ended:
        return "none has started"
    return "they may not have started: the directory for output has to be there, see udocker-batch status"


def _job(config: api.Config, options: argparse.Namespace) -> Job:
    return find(options.job, options.scheduler or "", config=config)


def _status_line(task: TaskStatus) -> str:
    index = "-" if task.index is None else str(task.index)
    status = "" if task.exit_status is None else str(task.exit_status)
    return f"{index:<8} {task.state.value:<14} {status:<4} {task.host:<16} {task.reason}".rstrip()


def _outputs(job: Job, options: argparse.Namespace) -> dict[Optional[int], Path]:
    outputs = job.outputs("stderr" if options.stderr else "stdout")
    return {task: path for task, path in outputs.items() if options.task in (None, task)}


def _follow(job: Job, options: argparse.Namespace) -> None:
    stream: Optional[BinaryIO] = None
    try:
        while True:
            # Asked before the last look: what was written by then is printed.
            tasks = [task for task in job.status() if options.task in (None, task.index)]
            if len(tasks) != 1:
                raise InvalidJob(f"logs: job {job.id}: {len(tasks)} tasks", "name one by --task to follow it")
            if stream is None:
                stream = next((_opened(path) for path in _outputs(job, options).values()), None)
            if stream is not None:
                _copy(stream)
            if tasks[0].state.ended:
                return
            time.sleep(_PAUSE)
    finally:
        if stream is not None:
            stream.close()


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise api.NotFoundError(f"logs: {path}: {error.strerror}") from None


def _copy(stream: BinaryIO) -> None:
    while data := stream.read(1 << 16):
        sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
