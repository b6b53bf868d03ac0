"""``udocker clone``."""

from __future__ import annotations

import argparse

from udocker.config import Config
from udocker.errors import StoreError
from udocker.store.clone import clone
from udocker.store.containers import check_name
from udocker.store.store import Store

DESCRIPTION = "Copy a container with all that was written in it; prints the copy's id."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("container", metavar="CONTAINER")
    parser.add_argument("--name", default="", help="a name for the copy")


def run(config: Config, options: argparse.Namespace) -> int:
    """Clone, then print the copy's id."""
    containers = Store.at(config).containers
    source = containers.find(options.container)
    if options.name:
        check_name(options.name)
        # Asked before the work as well as after it, because copying may take minutes.
        if containers.is_taken(options.name):
            raise StoreError(f"clone: {options.name}: name already taken", "choose another")
    Store.at(config).create()  # a store of udocker 1.3 has no tmp
    print(clone(containers, source, options.name).id)
    return 0
