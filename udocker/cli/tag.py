"""``udocker tag``."""

from __future__ import annotations

import argparse

from udocker.config import Config
from udocker.model.reference import ImageReference
from udocker.store.store import Store

DESCRIPTION = "Give an image another name, beside the one that it has; a name in use is refused."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("source", metavar="SOURCE_IMAGE")
    parser.add_argument("target", metavar="TARGET_IMAGE")


def run(config: Config, options: argparse.Namespace) -> int:
    """Tag; prints nothing, as docker and udocker."""
    source, target = ImageReference.parse(options.source), ImageReference.parse(options.target)
    Store.at(config).images.tag(source, target)
    return 0
