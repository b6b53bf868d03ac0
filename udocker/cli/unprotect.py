"""``udocker unprotect``."""

from __future__ import annotations

import argparse

from udocker.cli.objects import own_directory
from udocker.config import Config
from udocker.store.protection import unprotect
from udocker.store.store import Store

DESCRIPTION = "Allow a container or an image to be removed again."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's argument."""
    parser.add_argument("object", metavar="CONTAINER|IMAGE")


def run(config: Config, options: argparse.Namespace) -> int:
    """Unprotect; prints nothing, as udocker."""
    store = Store.at(config)
    unprotect(own_directory(store, options.object, "unprotect"))
    return 0
