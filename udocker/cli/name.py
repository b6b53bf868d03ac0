"""``udocker name``."""

from __future__ import annotations

import argparse
import os

from udocker.config import Config
from udocker.store.store import Store

DESCRIPTION = "Give a container a name, beside those that it has."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("container", metavar="CONTAINER")
    parser.add_argument("name", metavar="NAME")


def run(config: Config, options: argparse.Namespace) -> int:
    """Name; prints nothing, as udocker."""
    containers = Store.at(config).containers
    containers.name(os.path.basename(containers.directory(options.container)), options.name)
    return 0
