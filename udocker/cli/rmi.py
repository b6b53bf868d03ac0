"""``udocker rmi``."""

from __future__ import annotations

import argparse

from udocker.cli.each import each
from udocker.config import Config
from udocker.errors import StoreError
from udocker.model.reference import ImageReference
from udocker.store.store import Store

DESCRIPTION = "Remove images and the layers that no other image has; containers made from them stay."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("images", metavar="IMAGE", nargs="+")
    parser.add_argument("-f", "--force", action="store_true", help="an image that is not there is no failure")


def run(config: Config, options: argparse.Namespace) -> int:
    """Remove each."""
    store = Store.at(config)
    return each(options.images, lambda text: _remove(store, ImageReference.parse(text)), options.force)


def _remove(store: Store, reference: ImageReference) -> None:
    store.images.refuse_lower(reference, "rmi")
    if store.images.is_protected(store.images.directory(reference)):
        raise StoreError(f"rmi: {reference}: protected", f"udocker unprotect {reference}")
    store.images.remove(reference)
    print(reference)
