"""Command lines in docker's and udocker's syntax, by argparse."""

from __future__ import annotations

import argparse
import os
import sys

from udocker.errors import UsageError
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, NoReturn

# Nobody has translated argparse: it would import locale to look for it, and does so anew for every text.
argparse._ = str  # type: ignore[attr-defined]

# Commands whose options are those of docker run.
_LIKE_DOCKER_RUN = ("run", "create")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse makes one an option and asks shutil for the width: compression libraries at every start."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_width() - 2)


class _Hostname(argparse.Action):
    """docker's ``-h NAME``; a mere ``-h`` asks for help, as everywhere else."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: object, values: object, option: object = None
    ) -> None:
        if values is None:
            parser.print_help()
            parser.exit()
        parser.error(f"unrecognized arguments: -h {values}")


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of leaving the program with argparse's status 2."""

    # The names by which declarations mean these without argparse as well: see udocker.cli.usual.
    REST, HIDDEN = argparse.REMAINDER, argparse.SUPPRESS

    def __init__(self, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", _Formatter)
        asks_by_word = options.get("add_help", True) and options["prog"].partition(" ")[2] in _LIKE_DOCKER_RUN
        super().__init__(**{**options, "add_help": options.get("add_help", True) and not asks_by_word})
        if asks_by_word:
            self.add_argument("--help", action="help", help="show this help message and exit")
            self.add_argument("-h", dest="help", nargs="?", action=_Hostname, help=argparse.SUPPRESS)

    def error(self, message: str) -> NoReturn:
        """Report as every other error of this program."""
        act = self.prog.partition(" ")[2]  # the report names the program itself
        unknown = message.partition("unrecognized arguments: ")[2].split()
        hint = self._instead_of(act, unknown[0].partition("=")[0]) if unknown else ""
        raise UsageError(f"{act}: {message}" if act else message, hint or f"see {self.prog} --help")

    def _instead_of(self, act: str, option: str) -> str:
        """What to do instead of an option that is none; empty where there is nothing to say."""
        import difflib  # for mistakes alone

        from udocker.cli.dockeronly import instead_of

        known = [name for name in self._option_string_actions if name.startswith("--")]
        near = difflib.get_close_matches(option, known, n=1, cutoff=0.8) if option.startswith("--") else []
        reason = instead_of(option) if act in (*_LIKE_DOCKER_RUN, "exec") else ""
        return reason or (f"did you mean {near[0]}?" if near else "")


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return 80  # a pipe, or no standard output at all
