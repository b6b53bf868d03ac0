"""``udocker create``."""

from __future__ import annotations

import argparse

from udocker.cli.output import progress
from udocker.config import Config
from udocker.errors import StoreError
from udocker.model.manifest import Platform
from udocker.model.reference import ImageReference
from udocker.run.images import create, ensure_image
from udocker.store.containers import check_name
from udocker.store.store import Store

DESCRIPTION = "Make a container from an image, which is pulled first where it is not here; prints its id."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("-q", "--quiet", action="store_true", help="show no progress of a pull")
    parser.add_argument("--name", default="", help="a name for the container")
    parser.add_argument("--platform", default="", metavar="OS/ARCH", help="of the image for this platform")
    parser.add_argument("--force", action="store_true", help="take the name from the container that has it")


def run(config: Config, options: argparse.Namespace) -> int:
    """Create, then print the container's id."""
    reference = ImageReference.parse(options.image)
    platform = Platform.parse(options.platform) if options.platform else None
    containers = Store.at(config).containers
    if options.name:
        check_name(options.name)
        # Asked before the work as well as after it, because unpacking may take minutes.
        if containers.is_taken(options.name) and not options.force:
            raise StoreError(f"create: {options.name}: name already taken", "choose another, or --force")
    with progress(options.quiet) as bars:
        ensure_image(config, reference, bars, platform)
    container = create(config, reference, options.name, replace=options.force)
    print(container.id)
    return 0
