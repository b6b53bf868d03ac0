"""``udocker verify``."""

from __future__ import annotations

import argparse
from pathlib import Path

from udocker.cli.objects import image_reference, nothing_found
from udocker.cli.output import report
from udocker.config import Config
from udocker.errors import EXIT_FAILURE, NotFoundError, StoreCorrupt
from udocker.store.store import Store
from udocker.store.verify import verify_container, verify_image

DESCRIPTION = """Check an image's manifest and every blob against its digest, or a container's metadata.

Each damage is told in a line of its own, and the exit status is then 125."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's argument."""
    parser.add_argument("object", metavar="IMAGE|CONTAINER")


def run(config: Config, options: argparse.Namespace) -> int:
    """Verify; an image before a container of the same name, because udocker's verify takes images only."""
    store = Store.at(config)
    name = options.object
    reference = image_reference(store, name)
    if reference is not None:
        damages = verify_image(store, reference)
    else:
        try:
            damages = verify_container(Path(store.containers.directory(name)))
        except NotFoundError:
            raise nothing_found("verify", name) from None
    status = 0
    for damage in damages:
        report("udocker", StoreCorrupt(f"verify: {name}: {damage.what}", damage.remedy))
        status = EXIT_FAILURE
    if status == 0 and not options.quiet:
        print(f"{name}: ok")
    return status
