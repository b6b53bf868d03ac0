"""What the command modules share: parsers, the report of a failure, and the way to the back ends."""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Callable, NoReturn, Optional

from udocker import api

from .errors import BatchError
from .jobspec import STAGE_CHOICES
from .nearest import nearest
from .scheduler import Scheduler


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of leaving the program with argparse's status 2."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)
        self._commands: Mapping[str, Parser] = {}

    def add_subparsers(self, **options: Any) -> Any:
        """As argparse's, whose commands are then known to be what the first word names."""
        added = super().add_subparsers(**options)
        self._commands = added.choices
        return added

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, which tells what is missing before it tells what it does not know."""
        words = list(sys.argv[1:] if args is None else args)
        self._refuse_unknown(words)
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Report as every other error of this program."""
        self._fail(message, self._see())

    def _fail(self, message: str, hint: str) -> NoReturn:
        act = self.prog.partition(" ")[2]  # the report names the program itself
        raise api.UsageError(f"{act}: {message}" if act else message, hint)

    def _refuse_unknown(self, words: Iterable[str]) -> None:
        """Raise UsageError for a long option, or a command, that there is not."""
        known, valued = self._option_string_actions, False
        for word in words:
            name, equals, _ = word.partition("=")
            if word == "--":
                return
            # One in the place of a value, or with a blank in it, is argparse's to judge.
            if word.startswith("--") and name not in known and not valued and " " not in word:
                near = nearest(name, (*known, *self._of_commands()))
                meant = near if near in known else f"{self.prog} COMMAND {near}"
                self._fail(f"{name}: unknown option", f"did you mean {meant}?" if near else self._see())
            if self._commands and not word.startswith("-"):
                if word not in self._commands:
                    near = nearest(word, self._commands)
                    hint = f"did you mean {self.prog} {near}?" if near else self._see()
                    self._fail(f"{word!r}: unknown command", hint)
                return  # the rest is the command's
            valued = not equals and name in known and known[name].nargs != 0

    def _of_commands(self) -> Iterator[str]:
        return (name for command in self._commands.values() for name in command._option_string_actions)

    def _see(self) -> str:
        return f"see {self.prog} --help"


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
