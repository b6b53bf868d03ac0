"""The command ``udocker-sbatch``: sbatch, with an image to run in."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Optional

from udocker import api

from ..arguments import Parser, add_stage_arguments, current_directory, failure_lines, scheduler
from ..errors import InvalidJob
from ..jobspec import PREPARE_CHOICES, ArraySpec, JobSpec
from ..scheduler import Scheduler
from ..submit import exit_status, plan_job, run_command, submit
from .directives import ARRAY, CHDIR, JOB_NAME, refuse_script, split_flag, split_option

_DESCRIPTION = """Submit a command to Slurm that runs in a Docker image.

Every option of sbatch is taken unchanged; those below are ours. The command and its arguments follow
after --; without one the image's own command runs. Prints sbatch's line, or the id alone with --parsable."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Submit one job; returns the exit status."""
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except api.UdockerError as error:
        print(failure_lines("udocker-sbatch", error), file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(failure_lines("udocker-sbatch", api.from_os_error("submit", error)), file=sys.stderr)
        return api.UdockerError.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _run(words: list[str]) -> int:
    ours, command = _at_separator(words)
    options, passed = _parser().parse_known_args(ours)
    refuse_script(passed)
    # sbatch would not tell the id before the end, so that waiting is done here.
    wait, rest = split_flag(passed, "wait", "W")
    config = api.Config.from_environment(os.environ)
    if options.insecure:
        config = replace(config, insecure=True)
    job = job_of(options, rest, tuple(command))
    back_end = scheduler("slurm", config)
    if options.dry_run:
        plan = plan_job(config, job, back_end)
        print(f"udocker-sbatch: would run: {' '.join(map(shlex.quote, plan.command.argv))}", file=sys.stderr)
        print(plan.files["script"], end="")
        return 0
    if split_flag(rest, "test-only")[0]:
        return _test(config, job, back_end)
    submitted = submit(config, job, back_end)
    print(submitted.id if options.parsable else f"Submitted batch job {submitted.id}", flush=True)
    return exit_status(submitted.wait()) if wait else 0


def _test(config: api.Config, job: JobSpec, back_end: Scheduler) -> int:
    """sbatch's --test-only: it tells when the job would start, and submits nothing."""
    finished = run_command(plan_job(config, job, back_end).command)
    if finished.status != 0:
        back_end.parse_submitted(finished)  # raises, in sbatch's words
    print(finished.stderr, end="", file=sys.stderr)
    return 0


def job_of(options: argparse.Namespace, passed: tuple[str, ...], command: tuple[str, ...]) -> JobSpec:
    """The JobSpec of a command line: sbatch's options are read where we need them, and handed on."""
    text, _ = split_option(passed, ARRAY)
    name, _ = split_option(passed, JOB_NAME)
    chdir, _ = split_option(passed, CHDIR)
    program = os.path.basename(command[0]) if command else ""
    return JobSpec(
        image=options.image,
        command=command,
        name="" if name is not None else program,
        array=_array(text),
        mounts=tuple(options.mount),
        env=tuple(pair for entry in options.env for pair in _variable(entry)),
        workdir=options.workdir,
        user=options.user,
        entrypoint=None if options.entrypoint is None else _words(options.entrypoint),
        directory=os.path.join(current_directory(), chdir or ""),
        prepare=options.prepare,
        stage=options.stage,
        prefetch=tuple(options.prefetch),
        usage=not options.no_usage,
        options=passed,
    )


def _array(text: Optional[str]) -> Optional[ArraySpec]:
    """The array, for counting its tasks; what we cannot read is for sbatch to judge."""
    if text is None:
        return None
    try:
        return ArraySpec.parse(text)
    except InvalidJob:
        return None


def _at_separator(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    position = words.index("--")
    return words[:position], words[position + 1 :]


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise api.UsageError(f"udocker-sbatch: --entrypoint {text!r}: {error}") from None


def _variable(text: str) -> list[tuple[str, str]]:
    name, equals, value = text.partition("=")
    if not name:
        raise api.UsageError(f"udocker-sbatch: --env {text!r}: no name", "write NAME=VALUE")
    if equals:
        return [(name, value)]
    return [(name, os.environ[name])] if name in os.environ else []


def _parser() -> Parser:
    parser = Parser(
        prog="udocker-sbatch",
        usage="udocker-sbatch [SBATCH OPTIONS] --image IMAGE [OPTIONS] [-- COMMAND ARGUMENTS...]",
        description=_DESCRIPTION,
    )
    add = parser.add_argument
    add("--image", required=True, help="the image, pinned to its digest at submission")
    add(
        "--mount", action="append", default=[], metavar="SOURCE[:TARGET][:ro]", help="bind a path of the host"
    )
    add("--env", action="append", default=[], metavar="NAME[=VALUE]", help="a variable for the command")
    add("--workdir", default="", metavar="DIR", help="the directory in the container to run in")
    add("--user", default="", metavar="USER[:GROUP]", help="who to be in the container")
    add("--entrypoint", default=None, metavar="COMMAND", help="instead of the image's; '' for none")
    add("--prepare", choices=PREPARE_CHOICES, default="first", help="who pulls and unpacks the image")
    add_stage_arguments(parser, "shared", [])
    add("--no-usage", action="store_true", help="keep no usage records")
    add("--insecure", action="store_true", help="allow plain HTTP and unverified TLS")
    add("--dry-run", action="store_true", help="print the job script and submit nothing")
    add("--parsable", action="store_true", help="print the job's id alone, as sbatch does")
    return parser


if __name__ == "__main__":
    sys.exit(main())
