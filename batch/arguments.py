"""What the command modules share: parsers, the report of a failure, and the way to the back ends."""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional

from udocker import api

from .errors import BatchError
from .jobspec import STAGE_CHOICES
from .scheduler import Scheduler


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of leaving the program with argparse's status 2."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Report as every other error of this program."""
        act = self.prog.partition(" ")[2]  # the report names the program itself
        raise api.UsageError(f"{act}: {message}" if act else message, f"see {self.prog} --help")


def add_stage_arguments(parser: argparse.ArgumentParser, stage: Optional[str], prefetch: Any) -> None:
    """``--stage`` and ``--prefetch``, with these values where they are not given."""
    parser.add_argument(
        "--stage",
        choices=STAGE_CHOICES,
        default=stage,
        help="where tasks find the image's files: in the shared store (default), or in a copy on each node",
    )
    parser.add_argument(
        "--prefetch",
        action="append",
        default=prefetch,
        metavar="IMAGE",
        help="another image that the tasks use, prepared with the first; may be given again",
    )


def seconds(text: str) -> float:
    """A time that an option gives; argparse tells what is none."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r}: not a number of seconds")
    return value


def current_directory() -> str:
    """Where the user is, the base of relative paths; raises UsageError where it has been removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise api.UsageError("submit: the current directory has been removed", "go to another one") from None


def installed_program() -> str:
    """The path of udocker-batch, which job scripts call on the nodes; raises BatchError."""
    candidates = [
        Path(sys.argv[0]).absolute().with_name("udocker-batch"),
        Path(sysconfig.get_path("scripts")) / "udocker-batch",
        Path(sysconfig.get_path("scripts", "posix_user")) / "udocker-batch",
    ]
    for path in candidates:
        if path.is_file():
            return str(path)
    raise BatchError(
        f"submit: udocker-batch: not found in {candidates[1].parent}", "install the package udocker-batch"
    )


def _slurm(config: api.Config) -> Scheduler:
    from .slurm.scheduler import SlurmScheduler

    return SlurmScheduler(installed_program())


def _local(config: api.Config) -> Scheduler:
    from .local.scheduler import LocalScheduler

    return LocalScheduler(installed_program(), Path(config.udocker_dir))


# Every batch system by name; imported only when it is asked for.
SCHEDULERS: Mapping[str, Callable[[api.Config], Scheduler]] = {"slurm": _slurm, "local": _local}


def scheduler(name: str, config: api.Config) -> Scheduler:
    """The back end of a name; raises UsageError."""
    if name not in SCHEDULERS:
        raise api.UsageError(f"scheduler: {name!r}: unknown", f"one of {', '.join(SCHEDULERS)}")
    return SCHEDULERS[name](config)
