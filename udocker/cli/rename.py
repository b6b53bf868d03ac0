"""``udocker rename``."""

from __future__ import annotations

import argparse

from udocker.config import Config
from udocker.store.store import Store

DESCRIPTION = "Change a name of a container."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("new", metavar="NEW_NAME")


def run(config: Config, options: argparse.Namespace) -> int:
    """Rename; prints nothing, as udocker."""
    Store.at(config).containers.rename(options.name, options.new)
    return 0
