"""``udocker rmname``."""

from __future__ import annotations

import argparse

from udocker.config import Config
from udocker.store.store import Store

DESCRIPTION = "Take a name away from its container, which stays; prints the name."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's argument."""
    parser.add_argument("name", metavar="NAME")


def run(config: Config, options: argparse.Namespace) -> int:
    """Remove the name."""
    Store.at(config).containers.unname(options.name)
    print(options.name)
    return 0
