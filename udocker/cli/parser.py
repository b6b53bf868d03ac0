"""Command lines in docker's and udocker's syntax, by argparse."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from udocker.errors import UsageError


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError instead of leaving the program with argparse's status 2."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Report as every other error of this program."""
        act = self.prog.partition(" ")[2]  # the report names the program itself
        raise UsageError(f"{act}: {message}" if act else message, f"see {self.prog} --help")
