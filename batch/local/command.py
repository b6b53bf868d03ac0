"""``udocker-batch local``: submit, status, cancel, supervise."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from udocker.api import Config, UdockerError

from ..arguments import Parser
from ..errors import BatchError, InvalidJob
from ..files import store_error
from ..jobspec import ArraySpec
from ..script import interpreter
from .environment import for_submission
from .launch import supervise
from .queue import Job, Queue, Submission
from .revive import revive
from .status import report


def main(argv: Sequence[str]) -> int:
    """Run one command; returns its exit status, 125 for a failure told on standard error."""
    try:
        arguments = parser().parse_args(argv)
        directory = arguments.udocker_dir or Config.from_environment(os.environ).udocker_dir
        arguments.run(arguments, Queue(Path(directory).absolute()))
    except UdockerError as error:
        print(f"udocker-batch local: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = Parser(add_help=False)
    common.add_argument("--udocker-dir", metavar="DIR", help="where the queue lies (default: $UDOCKER_DIR)")
    top = Parser(prog="udocker-batch local", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    _submit_parser(commands.add_parser("submit", parents=[common], help="run the script on standard input"))
    for name, run, text in (
        ("status", _status, "print every task's state as JSON"),
        ("cancel", _cancel, "end all that is left of a job"),
        ("supervise", _supervise, "take a job over whose supervisor is dead"),
    ):
        command = commands.add_parser(name, parents=[common], help=text)
        command.add_argument("job", type=int)
        command.set_defaults(run=run)
    return top


def _submit_parser(command: argparse.ArgumentParser) -> None:
    command.add_argument("--name", default="udocker")
    command.add_argument("--array", default="", metavar="INDICES", help="as in 0-99%%10 or 1,3,5")
    command.add_argument("--directory", default="", metavar="DIR", help="the job's directory (default: here)")
    command.add_argument("--stdout", default="", metavar="PATTERN", help="with sbatch's %%A %%a %%j %%x ...")
    command.add_argument("--stderr", default="", metavar="PATTERN", help="default: where stdout goes")
    command.add_argument("--cpus", type=int, default=1, metavar="N", help="cores for each task")
    command.add_argument("--memory", type=int, default=0, metavar="BYTES", help="noted, not enforced")
    command.add_argument("--time-limit", type=int, default=0, metavar="SECONDS")
    command.add_argument("--after", type=int, metavar="JOB", help="start when that job has succeeded")
    command.set_defaults(run=_submit)


def _submit(arguments: argparse.Namespace, queue: Queue) -> None:
    script = os.fsdecode(sys.stdin.buffer.read())
    interpreter(script)
    if arguments.array:
        ArraySpec.parse(arguments.array)
    cores = len(os.sched_getaffinity(0))
    if not 1 <= arguments.cpus <= cores:
        raise InvalidJob(f"submit: --cpus: {arguments.cpus}: this machine gives 1 to {cores}")
    if arguments.memory < 0 or arguments.time_limit < 0:
        raise InvalidJob("submit: --memory, --time-limit: negative", "leave them out for no limit")
    if arguments.after is not None:
        queue.job(arguments.after)
    job = queue.submit(_submission(arguments), script)
    try:
        revive(job)
    except (BatchError, KeyboardInterrupt):
        _mark(job)  # no later status may start what is told to have failed
        raise
    print(job.number)


def _submission(arguments: argparse.Namespace) -> Submission:
    umask = os.umask(0o022)  # there is no other way to read it (umask(2))
    os.umask(umask)
    return Submission(
        name=arguments.name,
        directory=os.path.abspath(arguments.directory or "."),
        submit_directory=os.getcwd(),
        submit_host=socket.gethostname(),
        environment=for_submission(os.environ),
        array=arguments.array,
        stdout=arguments.stdout,
        stderr=arguments.stderr,
        cpus=arguments.cpus,
        memory=arguments.memory,
        time_limit=arguments.time_limit,
        umask=umask,
        after=arguments.after,
    )


def _status(arguments: argparse.Namespace, queue: Queue) -> None:
    job = queue.job(arguments.job)
    revive(job)
    try:
        tasks = [task.to_mapping() for task in report(job)]
    except OSError as error:
        raise store_error("status", error, job.folder) from error
    print(json.dumps({"job": job.number, "name": job.submission.name, "tasks": tasks}))


def _cancel(arguments: argparse.Namespace, queue: Queue) -> None:
    job = queue.job(arguments.job)
    _mark(job)
    revive(job)


def _mark(job: Job) -> None:
    if job.outcome:
        return
    try:
        job.cancel()
    except OSError as error:
        raise store_error("cancel", error, job.folder) from error


def _supervise(arguments: argparse.Namespace, queue: Queue) -> None:
    supervise(queue.job(arguments.job))
