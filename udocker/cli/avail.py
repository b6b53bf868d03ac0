"""``udocker avail``."""

from __future__ import annotations

import argparse

from udocker.cli.output import printable
from udocker.config import Config
from udocker.engine.select import MODES, engines

DESCRIPTION = """List the engines of this package, and whether this host allows them.

Engines come with the package; udocker install checks them and takes others."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options."""


def run(config: Config, options: argparse.Namespace) -> int:
    """Print one line an engine: its execution modes, yes or no, and why not."""
    print("MODES      WORKS HERE")
    for family, engine in engines(config.udocker_dir).items():
        modes = ",".join(mode.value for mode in MODES if mode.family == family)
        support = engine.check()
        reason = support.reason + (f" ({support.hint})" if support.hint else "")
        print(f"{modes:<10} " + ("yes" if support.available else f"no: {printable(reason)}"))
    return 0
