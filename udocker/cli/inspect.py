"""``udocker inspect``."""

from __future__ import annotations

import argparse
import json

from udocker.config import Config
from udocker.errors import NotFoundError, UsageError
from udocker.model.reference import ImageReference
from udocker.store.store import Store

DESCRIPTION = "Print the metadata of a container or an image as JSON."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("object", metavar="CONTAINER|IMAGE")
    parser.add_argument(
        "-p", "--path", action="store_true", help="print a container's root directory instead"
    )


def run(config: Config, options: argparse.Namespace) -> int:
    """Print the JSON document, or the path."""
    store = Store.at(config)
    try:
        container = store.containers.find(options.object)
    except NotFoundError:
        if options.path:
            raise
        print(json.dumps(dict(_image(store, options.object)), indent=4, sort_keys=True))
        return 0
    if options.path:
        print(container.root)
    else:
        print(json.dumps(dict(container.config.document), indent=4, sort_keys=True))
    return 0


def _image(store: Store, text: str) -> dict[str, object]:
    try:
        image = store.images.load(ImageReference.parse(text))
    except (NotFoundError, UsageError):
        message = f"inspect: {text}: no container or image of this name is here"
        raise NotFoundError(message, "see udocker ps and udocker images") from None
    return {**store.images.config(image).document, "digest": str(image.digest)}
