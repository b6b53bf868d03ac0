"""``udocker rm``."""

from __future__ import annotations

import argparse
import os

from udocker.cli.each import each
from udocker.config import Config
from udocker.errors import NotFoundError, StoreError
from udocker.store.store import Store

DESCRIPTION = "Remove containers with everything in them; their images stay."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("containers", metavar="CONTAINER", nargs="+")
    parser.add_argument(
        "-f", "--force", action="store_true", help="a container that is not there is no failure"
    )


def run(config: Config, options: argparse.Namespace) -> int:
    """Remove each."""
    store = Store.at(config)
    return each(options.containers, lambda name: _remove(store, name), options.force)


def _remove(store: Store, name: str) -> None:
    try:
        directory = store.containers.directory(name)
    except NotFoundError:
        print(store.containers.forget(name))
        return
    if store.containers.is_protected(directory):
        raise StoreError(f"rm: {name}: protected", f"udocker unprotect {name}")
    store.containers.remove(directory)
    print(os.path.basename(directory))
