"""``udocker logout``."""

from __future__ import annotations

import argparse
from pathlib import Path

from udocker.config import Config
from udocker.errors import NotFoundError
from udocker.registry.address import registry_address
from udocker.registry.keystore import Keystore

DESCRIPTION = "Forget the name and password that udocker login keeps for a registry."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("-a", "--all", action="store_true", help="those of all registries")
    parser.add_argument(
        "--registry", metavar="HOST", default="", help="as in quay.io (default: Docker Hub's)"
    )


def run(config: Config, options: argparse.Namespace) -> int:
    """Remove the entry, or the whole file."""
    registry = registry_address(options.registry)
    if options.all:
        if config.keystore is not None:
            Keystore(Path(config.keystore)).erase()
    elif config.keystore is None or not Keystore(Path(config.keystore)).delete(registry):
        raise NotFoundError(
            f"logout: {registry}: no password is kept for it", "docker logout is for docker's"
        )
    return 0
