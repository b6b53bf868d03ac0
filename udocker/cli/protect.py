"""``udocker protect``."""

from __future__ import annotations

import argparse

from udocker.cli.objects import own_directory
from udocker.config import Config
from udocker.store.protection import protect
from udocker.store.store import Store

DESCRIPTION = "Keep a container or an image from being removed by rm and rmi."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's argument."""
    parser.add_argument("object", metavar="CONTAINER|IMAGE")


def run(config: Config, options: argparse.Namespace) -> int:
    """Protect; prints nothing, as udocker."""
    store = Store.at(config)
    protect(own_directory(store, options.object, "protect"), store.paths.file_mode)
    return 0
