"""``udocker avail``."""

from __future__ import annotations

import argparse

from udocker.cli.output import printable
from udocker.config import Config
from udocker.engine.select import MODES, engine_of, why_not

DESCRIPTION = """List the engines of this package, and whether this host allows them.

Engines come with the package; udocker install checks them and takes others."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options."""


def run(config: Config, options: argparse.Namespace) -> int:
    """Print one line a mode: yes or no, and why not."""
    print("MODES      WORKS HERE")
    for mode in MODES:
        support = engine_of(mode, config.udocker_dir).check(mode)
        print(f"{mode.value:<10} " + ("yes" if support.available else f"no: {printable(why_not(support))}"))
    return 0
