"""The command ``udocker-srun``: srun, with an image to run in."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn, Optional

from udocker import api

from ...arguments import current_directory, installed_program
from ...errors import SchedulerMissing
from ...jobspec import JobSpec
from ...submission import plan_task, run_command
from ...taskspec import VARIABLE
from ..command import told
from ..controller import PING, down, is_up
from ..frontend import option_help, read_line, spec_fields
from ..options import SRUN, Line

_OURS = (
    *("image", "container", "exec-mode", "mount", "env", "workdir", "user", "entrypoint", "nvidia"),
    *("stage", "no-usage", "insecure", "dry-run"),
)
# Options with which srun asks no controller of this cluster for an allocation.
_ELSEWHERE = ("jobid", "clusters", "no-allocate")
_ALLOCATED = ("SLURM_JOB_ID", "SLURM_JOBID")
# Seconds: srun gives a controller as long that is started anew.
_PATIENCE, _PAUSE = 9.0, 1.0
_HELP = """usage: udocker-srun [SRUN OPTIONS] --image IMAGE [OPTIONS] [COMMAND [ARGUMENTS...]]

Run a command in a Docker image, as a step of the allocation that this is called in or in one of its own.

Every option of srun is taken unchanged; those below are ours. All ranks of a node run in one container. Exit
status, signals, --pty and input are srun's. Each rank leaves a usage record.
"""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Become srun; returns the exit status where that fails."""
    return told("udocker-srun", _run, list(sys.argv[1:] if argv is None else argv))


def _run(words: list[str]) -> int:
    line = read_line("srun", SRUN, words, _OURS)
    if line.last("help") is not None:
        print(f"{_HELP}\n{option_help(_OURS)}")
        return 0
    if line.last("version") is not None or line.last("usage") is not None:
        return _become(("srun", *line.words(_OURS)), os.environ)
    config = api.Config.from_environment(os.environ)
    if line.last("insecure") is not None:
        config = replace(config, insecure=True)
    job = JobSpec(**spec_fields(line, current_directory(), os.environ), command=line.rest)
    argv = ("srun", *_options(line, os.environ), installed_program(), "rank")
    task = plan_task(config, job).to_json()
    if line.last("dry-run") is not None:
        print(f"{VARIABLE}={shlex.quote(task)} {shlex.join(argv)}")
        return 0
    if _allocates(line, os.environ):
        _await_controller()
    return _become(argv, {**os.environ, VARIABLE: task})


def _options(line: Line, environ: Mapping[str, str]) -> tuple[str, ...]:
    """srun's options; one that says which variables are handed on names ours as well.

    SLURM_EXPORT_ENV is inherited from sbatch --export and means the same (srun(1)).
    """
    given = line.last("export")
    if given is None:
        given = environ.get("SLURM_EXPORT_ENV")
    if given is None or given.partition(",")[0] == "ALL":
        return line.words(_OURS)
    names = "" if given in ("NONE", "NIL") else f"{given},"
    return (*line.words({*_OURS, "export"}), f"--export={names}{VARIABLE}")


def _allocates(line: Line, environ: Mapping[str, str]) -> bool:
    """Whether srun will ask this cluster for an allocation; for a step of one it waits itself."""
    others = line.last(*_ELSEWHERE) is not None or "SLURM_CLUSTERS" in environ
    return not others and not any(name in environ for name in _ALLOCATED)


def _await_controller() -> None:
    """Return as soon as a controller answers; raises SubmitFailed where none does as long as srun would try.

    Once it is srun it tells of that itself, with a status that a program may have as well.
    """
    begun = time.monotonic()
    try:
        while not is_up(answer := run_command(PING)):
            if time.monotonic() - begun >= _PATIENCE:
                raise down(answer)
            time.sleep(_PAUSE)
    except SchedulerMissing:
        return  # srun needs no scontrol, and is told of where it is missing itself


def _become(argv: tuple[str, ...], environ: Mapping[str, str]) -> NoReturn:
    sys.stdout.flush()
    try:
        os.execvpe(argv[0], argv, environ)
    except FileNotFoundError:
        raise SchedulerMissing("srun: not found on this machine", "go to a submit host") from None


if __name__ == "__main__":
    sys.exit(main())
