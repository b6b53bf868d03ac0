"""``udocker import``."""

from __future__ import annotations

import argparse
from pathlib import Path

from udocker.cli.archivefile import STANDARD, naming, open_input
from udocker.config import Config
from udocker.errors import UsageError
from udocker.model.manifest import Platform
from udocker.model.reference import ImageReference
from udocker.run.archives import import_clone, import_container, import_image

DESCRIPTION = "Make an image, or a container, of a tar archive of files, compressed or not."

_HINT = "is the file complete, and a tar archive of files, as docker export writes?"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "--mv", action="store_true", help="move the file where possible instead of copying it"
    )
    parser.add_argument("--tocontainer", action="store_true", help="make a container; prints its id")
    parser.add_argument(
        "--clone", action="store_true", help="make a container of what udocker export --clone wrote"
    )
    parser.add_argument("--name", default="", help="a name for the container")
    parser.add_argument("--platform", metavar="OS/ARCH", help="what the files were built for")
    parser.add_argument("file", metavar="FILE|-")
    parser.add_argument("image", metavar="IMAGE", nargs="?", default="")


def run(config: Config, options: argparse.Namespace) -> int:
    """Import, then print the image's name or the container's id."""
    with naming("import", options.file, _HINT):
        print(_import(config, options))
    return 0


def _import(config: Config, options: argparse.Namespace) -> str:
    source = open_input("import", options.file)
    path = None if options.file == STANDARD else Path(options.file)
    platform = Platform.parse(options.platform) if options.platform else None
    in_place = path if path is not None and path.is_file() else None
    if options.clone:
        if options.image or platform:
            raise UsageError("import: a clone has its image and platform", "leave them out with --clone")
        return import_clone(config, source, options.name, in_place).id
    if options.tocontainer:
        return import_container(config, source, options.image, options.name, platform, in_place).id
    if not options.image:
        raise UsageError("import: no name for the image", "udocker import FILE IMAGE, or --tocontainer")
    if options.name:
        raise UsageError("import: --name is a container's", "add --tocontainer or --clone")
    reference = ImageReference.parse(options.image)
    import_image(config, source, reference, platform, path if options.mv else None)
    return str(reference)
