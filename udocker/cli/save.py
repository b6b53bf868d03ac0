"""``udocker save``."""

from __future__ import annotations

import argparse

from udocker.cli.archivefile import STANDARD, open_output
from udocker.config import Config
from udocker.errors import StoreCorrupt, UnpackError, UsageError
from udocker.model.reference import ImageReference
from udocker.run.archives import save

DESCRIPTION = "Write images to an archive in docker's format, on standard output where no file is given."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("-o", "--output", default="", metavar="FILE|-", help="the file to make")
    parser.add_argument("images", metavar="IMAGE", nargs="+")


def run(config: Config, options: argparse.Namespace) -> int:
    """Save; nothing is printed."""
    images = list(options.images)
    if images[0] == STANDARD:  # udocker's other way to say standard output
        images.pop(0)
    if not images:
        raise UsageError("save: no image given", "see udocker save --help")
    references = [ImageReference.parse(text) for text in images]
    try:
        save(config, references, open_output("save", options.output or STANDARD, replace=False))
    except (StoreCorrupt, UnpackError) as error:
        error.hint = error.hint or "udocker verify tells which image is damaged, and udocker pull mends it"
        raise
    return 0
