"""The command ``udocker-sbatch``: sbatch, with an image to run in."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Optional

from udocker import api

from ..arguments import current_directory, scheduler
from ..errors import InvalidJob, failure_lines
from ..jobspec import ArraySpec, JobSpec
from ..scheduler import Command, Scheduler
from ..submission import exit_status, plan_job, run_command, submit
from .directives import directives, read_directives, without_option
from .frontend import option_help, read_line, spec_fields
from .options import SBATCH, Line

_OURS = (
    *("image", "container", "exec-mode", "mount", "env", "workdir", "user", "entrypoint", "nvidia"),
    *("prepare", "stage", "prefetch", "no-usage", "insecure", "dry-run"),
)
# sbatch's own options that are not handed on: what they ask for is done here.
_DONE_HERE = ("wait", "quiet", "parsable", "wrap")
_HELP = """usage: udocker-sbatch [SBATCH OPTIONS] --image IMAGE [OPTIONS] [SCRIPT [ARGUMENTS...]]
       udocker-sbatch [SBATCH OPTIONS] --image IMAGE [OPTIONS] -- COMMAND [ARGUMENTS...]

Submit a script or a command to Slurm that runs in a Docker image.

Every option of sbatch is taken unchanged, on the command line and in #SBATCH and #PBS lines of the script;
those below are ours. The script, - for standard input, runs inside the container. Without script and command
the image's own command runs. Prints sbatch's line, or the id alone with --parsable.
"""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Submit one job; returns the exit status."""
    return told("udocker-sbatch", _run, list(sys.argv[1:] if argv is None else argv))


def told(program: str, run: Callable[[list[str]], int], words: list[str]) -> int:
    """Run a command and tell its failure in one line; returns the exit status."""
    logging.basicConfig(format=f"{program}: %(message)s")
    try:
        return run(words)
    except api.UdockerError as error:
        print(failure_lines(program, error), file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(failure_lines(program, api.from_os_error(program, error)), file=sys.stderr)
        return api.UdockerError.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _run(words: list[str]) -> int:
    line = read_line("sbatch", SBATCH, words, _OURS)
    if line.last("help") is not None:
        print(f"{_HELP}\n{option_help(_OURS)}")
        return 0
    if line.last("version") is not None or line.last("usage") is not None:
        return _hand_over(line)
    config = api.Config.from_environment(os.environ)
    if line.last("insecure") is not None:
        config = replace(config, insecure=True)
    job, asked = job_of(line, os.environ)
    wait = "wait" in asked or bool(
        os.environ.pop("SBATCH_WAIT", "")
    )  # sbatch would tell the id at the end only
    back_end = scheduler("slurm", config)
    if line.last("dry-run") is not None:
        plan = plan_job(config, job, back_end)
        print(f"udocker-sbatch: would run: {' '.join(map(shlex.quote, plan.command.argv))}", file=sys.stderr)
        print(plan.files["script"], end="")
        return 0
    if line.last("test-only") is not None:
        return _test(config, job, back_end)
    submitted = submit(config, job, back_end)
    if "parsable" in asked:
        print(submitted.id, flush=True)
    elif "quiet" not in asked:
        print(f"Submitted batch job {submitted.id}", flush=True)
    return exit_status(submitted.wait()) if wait else 0


def _hand_over(line: Line) -> int:
    """What only sbatch can tell: its version, its usage."""
    done = run_command(Command(("sbatch", *line.words(_OURS))))
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)
    return done.status


def _test(config: api.Config, job: JobSpec, back_end: Scheduler) -> int:
    """sbatch's --test-only: it tells when the job would start, and submits nothing."""
    finished = run_command(plan_job(config, job, back_end).command)
    if finished.status != 0:
        back_end.parse_submitted(finished)  # raises, in sbatch's words
    print(finished.stderr, end="", file=sys.stderr)
    return 0


def job_of(line: Line, environ: Mapping[str, str]) -> tuple[JobSpec, frozenset[str]]:
    """The JobSpec of a command line, and which of the options are given that are done here.

    Options of sbatch are read where we need them, and handed on; those of the command line are stronger
    than those of the environment, and these than the script's (sbatch(1), INPUT ENVIRONMENT VARIABLES).
    """
    script, command = _script(line)
    lines = directives(script)
    pbs = line.last("ignore-pbs") is None and "SBATCH_IGNORE_PBS" not in environ
    inside = read_directives(lines, pbs=pbs)
    for name in _DONE_HERE:
        lines = without_option(lines, name)

    def option(name: str, variable: str = "") -> Optional[str]:
        given = line.last(name)
        if given is None:
            given = environ.get(variable)
        return inside.last(name) if given is None else given

    directory = os.path.join(current_directory(), option("chdir") or "")
    named = option("job-name", "SBATCH_JOB_NAME") is not None
    array = option("array", "SBATCH_ARRAY_INX")
    job = JobSpec(
        **spec_fields(line, directory, environ),
        command=command,
        script=script,
        directives=lines,
        name="" if named else _name(line, command),
        array=ArraySpec.parse_if_able(array) if array else None,
        options=line.words({*_OURS, *_DONE_HERE}),
    )
    return job, frozenset(name for name in _DONE_HERE if option(name) is not None)


def _name(line: Line, command: tuple[str, ...]) -> str:
    """As sbatch names jobs: after the script, or the command."""
    if line.last("wrap") is not None:
        return "wrap"
    if line.rest and not line.separated:
        return os.path.basename(line.rest[0]) if line.rest[0] != "-" else "sbatch"
    return os.path.basename(command[0]) if command else ""


def _script(line: Line) -> tuple[str, tuple[str, ...]]:
    """The text of the script to run, if any, and the command, or the script's arguments."""
    wrapped = line.last("wrap")
    if wrapped is not None:
        if line.rest:
            raise InvalidJob("submit: --wrap: takes no script and no arguments", "leave one of them out")
        return "", ("/bin/sh", "-c", wrapped)
    if line.separated or not line.rest:
        return "", line.rest
    return _read_script(line.rest[0]), line.rest[1:]


def _read_script(name: str) -> str:
    try:
        with open(0 if name == "-" else name, "rb", closefd=name != "-") as stream:
            data = stream.read()
    except OSError as error:
        hint = "put a command after --, as in: -- python3 x.py"
        raise InvalidJob(f"submit: {name}: {error.strerror}", hint) from None
    if not data.startswith(b"#!"):
        hint = "begin it with #!/bin/sh, or put a command after --"
        raise InvalidJob(f"submit: {name}: not a script: its first line does not begin with #!", hint)
    if b"\r\n" in data:
        raise InvalidJob(f"submit: {name}: has DOS line ends (\\r\\n)", "convert it: sed -i 's/\\r$//'")
    return os.fsdecode(data)


if __name__ == "__main__":
    sys.exit(main())
