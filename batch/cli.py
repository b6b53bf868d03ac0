"""The command ``udocker-batch``."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Optional

from udocker import api

from .arguments import SCHEDULERS, Parser, add_stage_arguments, current_directory, failure_lines, scheduler
from .errors import InvalidJob
from .jobspec import PREPARE_CHOICES, JobSpec
from .scheduler import TaskStatus
from .stage import command as stage
from .submit import Job, exit_status, plan_job, scheduler_of, submit
from .taskspec import TaskSpec

_EPILOG = """A job file is YAML:

  image: 127.0.0.1:5000/pi:1        # pinned to its digest at submission
  command: [python3, /data/work.py]
  array: 0-999%50                   # as sbatch's --array
  mounts: [/scratch/data:/data:ro]
  env: {MODE: fast}
  stdout: out/task-%a.txt           # %A job, %a task, %j, %x name, as sbatch
  cpus: 1
  memory: 2G
  time: 30m

Other keys: name, workdir, user, entrypoint, directory, stderr, prepare (first, submit, job),
stage (shared, node), prefetch (further images), usage, options (a list for each batch system)."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command line; returns its exit status."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `udocker-batch usage 7 | head` ends quietly
    logging.basicConfig(format="udocker-batch: %(message)s")
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == ["local"]:
            from .local.command import main as local

            return local(words[1:])
        if words == ["--version"]:
            import importlib.metadata  # as slow as all the rest together

            print(f"udocker-batch {importlib.metadata.version('udocker-batch')}")
            return 0
        options = _parser().parse_args(words)
        act: Callable[[api.Config, argparse.Namespace], int] = options.act
        return act(api.Config.from_environment(os.environ), options)
    except api.UdockerError as error:
        print(failure_lines("udocker-batch", error), file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(failure_lines("udocker-batch", api.from_os_error("udocker-batch", error)), file=sys.stderr)
        return api.UdockerError.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _submit(config: api.Config, options: argparse.Namespace) -> int:
    from .jobfile import MAX_FILE, load_job

    path, directory = Path("/dev/stdin" if options.file == "-" else options.file), current_directory()
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(MAX_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InvalidJob(f"submit: {path}: {reason}") from None
    job = load_job(text, path.name, options.scheduler, directory)
    if options.prepare:
        job = replace(job, prepare=options.prepare)
    job = replace(job, stage=options.stage or job.stage, prefetch=(*job.prefetch, *options.prefetch))
    return _submit_or_show(config, replace(job, options=(*job.options, *options.option)), options)


def _submit_or_show(config: api.Config, job: JobSpec, options: argparse.Namespace) -> int:
    back_end = scheduler(options.scheduler, config)
    if options.dry_run:
        for text in plan_job(config, job, back_end).files.values():
            print(text, end="")
        return 0
    print(submit(config, job, back_end).id)
    return 0


def _job(config: api.Config, options: argparse.Namespace) -> Job:
    name = options.scheduler or scheduler_of(Path(config.udocker_dir), options.job, tuple(SCHEDULERS))
    return Job(config, scheduler(name, config), options.job)


def _status(config: api.Config, options: argparse.Namespace) -> int:
    for task in _job(config, options).status():
        print(_status_line(task))
    return 0


def _status_line(task: TaskStatus) -> str:
    index = "-" if task.index is None else str(task.index)
    status = "" if task.exit_status is None else str(task.exit_status)
    return f"{index:<8} {task.state.value:<14} {status:<4} {task.host:<16} {task.reason}".rstrip()


def _cancel(config: api.Config, options: argparse.Namespace) -> int:
    _job(config, options).cancel()
    return 0


def _wait(config: api.Config, options: argparse.Namespace) -> int:
    last = ""

    def seen(tasks: Sequence[TaskStatus]) -> None:
        nonlocal last
        counts = Counter(task.state.value for task in tasks)
        line = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        if line != last and not options.quiet:
            print(f"job {options.job}: {line}", file=sys.stderr)
        last = line

    return exit_status(_job(config, options).wait(seen))


def _usage(config: api.Config, options: argparse.Namespace) -> int:
    from .accounting.report import usage_csv, usage_json, usage_table

    job = _job(config, options)
    records = job.usage()
    for problem in records.problems:
        print(f"udocker-batch: usage: {problem}", file=sys.stderr)
    if not records.usages and job.tasks() is None:
        return _no_records(job)
    if options.format == "table":
        from rich.console import Console

        # A table that is read by a program or a file must not be folded to the width of nothing.
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(
            usage_table(records.usages, tasks=job.tasks(), title=f"{job.scheduler.name} job {job.id}")
        )
    else:
        text = (
            usage_csv(records.usages)
            if options.format == "csv"
            else usage_json(records.usages, tasks=job.tasks())
        )
        print(text, end="" if text.endswith("\n") else "\n")
    return 0


def _no_records(job: Job) -> int:
    raise api.NotFoundError(
        f"usage: {job.scheduler.name} job {job.id}: no records", "see udocker-batch status"
    )


def _prepare(config: api.Config, options: argparse.Namespace) -> int:
    from .prepare import prepare

    if options.insecure:
        config = replace(config, insecure=True)
    image = api.resolve(config, options.image)
    prepared = prepare(config, image)
    print(f"{image} {prepared.container} {prepared.role}")
    return 0


def _task(config: api.Config, options: argparse.Namespace) -> int:
    from .task import run_task

    text = os.environ.pop("UDOCKER_BATCH_TASK", "")
    if not text:
        raise InvalidJob("task: UDOCKER_BATCH_TASK is not set", "this command is for job scripts")
    return run_task(config, TaskSpec.from_json(text), os.environ)


def _submit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="JOB.YAML", help="- for standard input")
    parser.add_argument("--scheduler", choices=tuple(SCHEDULERS), required=True)
    parser.add_argument("--option", action="append", default=[], help="handed to the batch system as it is")
    parser.add_argument("--dry-run", action="store_true", help="print the job script and submit nothing")
    parser.add_argument(
        "--prepare",
        choices=PREPARE_CHOICES,
        default=None,
        help="who pulls and unpacks the image: the first task (default), this command, or a job of its own",
    )
    add_stage_arguments(parser, None, [])


def _job_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOBID")
    parser.add_argument("--scheduler", choices=tuple(SCHEDULERS), help="where two have a job of this id")


def _wait_arguments(parser: argparse.ArgumentParser) -> None:
    _job_arguments(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="do not tell about changes")


def _usage_arguments(parser: argparse.ArgumentParser) -> None:
    _job_arguments(parser)
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")


def _prepare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("--insecure", action="store_true", help="allow plain HTTP and unverified TLS")


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """``task`` takes all from the environment."""


_Act = Callable[[api.Config, argparse.Namespace], int]
_Arguments = Callable[[argparse.ArgumentParser], None]
# Every command: what it does, its options, its line in the help.
_COMMANDS: Mapping[str, tuple[_Act, _Arguments, str]] = {
    "submit": (_submit, _submit_arguments, "submit a job file; prints the job's id"),
    "status": (_status, _job_arguments, "tell the state of every task: index, state, exit status, host"),
    "wait": (_wait, _wait_arguments, "wait for a job; exits with 0 if every task did"),
    "cancel": (_cancel, _job_arguments, "cancel what is left of a job"),
    "usage": (_usage, _usage_arguments, "print what every task used"),
    "prepare": (_prepare, _prepare_arguments, "pull and unpack an image for jobs to come"),
    "stage": (stage.run, stage.add_arguments, "list or remove the copies of containers on this node"),
    "task": (_task, _no_arguments, "run a task; for job scripts"),
}


def _parser() -> Parser:
    parser = Parser(
        prog="udocker-batch",
        description="Run images as jobs of a batch system: prepared once, accounted for.",
        epilog=_EPILOG,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (act, add_arguments, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        add_arguments(command)
        command.set_defaults(act=act)
    return parser


if __name__ == "__main__":
    sys.exit(main())
