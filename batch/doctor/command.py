"""``udocker-batch doctor``: what would keep jobs from being submitted or from running."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from udocker import api

from ..arguments import installed_program
from ..scheduler import Command
from ..submission import run_command

# Directories that every node has for itself.
_OF_A_NODE = ("/tmp/", "/dev/shm/", "/run/")
_SLURM = ("sbatch", "srun", "squeue", "sacct", "scancel", "sinfo")
_NO_ANSWER = (
    "go to a submit host, or ask whether slurmctld runs and SLURM_CONF is right;"
    " jobs can be submitted to local"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(config: api.Config, options: argparse.Namespace) -> int:
    """Print a line a finding, ``ok`` or ``problem``; the exit status is 1 where there is a problem."""
    problems = 0
    for cause in (*_store(config), *_program(), *_modes(config), *_slurm()):
        good = not cause.startswith("!")
        problems += not good
        print(f"{'ok' if good else 'problem'}: {cause.lstrip('!')}")
    return 1 if problems else 0


def _store(config: api.Config) -> Iterator[str]:
    directory = Path(config.udocker_dir).absolute()
    where = f"store: {directory}"
    if str(directory).startswith(_OF_A_NODE):
        yield f"!{where}: every node has that for itself: set UDOCKER_DIR to a shared directory"
        return
    place = next(path for path in (directory, *directory.parents) if path.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        yield f"!{where}: {place} is not writable: set UDOCKER_DIR to another directory"
    elif os.statvfs(place).f_flag & os.ST_NOEXEC:
        yield f"!{where}: mounted noexec: no program of a container can run there"
    else:
        yield f"{where}: writable; the nodes have to see it"


def _program() -> Iterator[str]:
    try:
        program = installed_program()
    except api.UdockerError as error:
        yield f"!{error.message}: {error.hint}"
        return
    if program.startswith(_OF_A_NODE):
        yield f"!program: {program}: every node has that for itself: install it where all see it"
    else:
        yield f"program: {program}; the nodes have to see it"


def _modes(config: api.Config) -> Iterator[str]:
    modes = api.execution_modes(config)
    works = [name for name, cause in modes.items() if not cause]
    if works:
        yield f"modes: {', '.join(works)} work on this host; nodes may differ: run udocker doctor there"
    else:
        yield f"!modes: none works on this host: {next(iter(modes.values()), '')}"


def _slurm() -> Iterator[str]:
    missing = [name for name in _SLURM if shutil.which(name) is None]
    if len(missing) == len(_SLURM):
        yield "slurm: its commands are not on this machine: jobs can be submitted to local"
        return
    if missing:
        yield f"!slurm: {', '.join(missing)}: not found"
        return
    answer = run_command(Command(("sinfo", "--noheader", "--Node", "--format=%N")))
    if answer.status != 0:
        words = (answer.stderr.strip() or "sinfo failed").splitlines()[0].removeprefix("sinfo: error: ")
        yield f"!slurm: it does not answer: {words}: {_NO_ANSWER}"
        return
    yield f"slurm: {len(set(answer.stdout.split()))} nodes"
    accounting = run_command(
        Command(("sacct", "--noheader", "--parsable2", "--format=JobID", "--starttime=now"))
    )
    if accounting.status == 0:
        yield "slurm: its accounting answers"
    else:
        yield "slurm: no accounting: how tasks ended is known from our records, and for minutes from squeue"
