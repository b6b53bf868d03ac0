"""``udocker manifest inspect``."""

from __future__ import annotations

import argparse
import json
import sys

from udocker.cli.registryoptions import add_registry_options, with_registry
from udocker.config import Config
from udocker.errors import RegistryError
from udocker.model.manifest import ImageIndex, Platform, parse_manifest
from udocker.model.reference import ImageReference
from udocker.registry.client import RegistryClient

DESCRIPTION = "Show the manifest or index of an image as its registry has it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("action", choices=["inspect"], help="what to do")
    parser.add_argument("image", metavar="IMAGE", help="as in debian:12")
    parser.add_argument("--platform", metavar="OS/ARCH", help="of an index, the manifest for this platform")
    add_registry_options(parser)


def run(config: Config, options: argparse.Namespace) -> int:
    """Print the document: byte by byte, so that its digest can be checked, but indented on a terminal."""
    config = with_registry(config, options)
    reference = ImageReference.parse(options.image)
    platform = Platform.parse(options.platform) if options.platform else None
    with RegistryClient(config, reference, act="manifest") as client:
        document = client.manifest(reference.selector)
        if platform is not None:
            found = parse_manifest(document.raw, document.media_type)
            chosen = found.choose(platform) if isinstance(found, ImageIndex) else None
            if chosen is not None:
                document = client.manifest(chosen.digest)
            elif isinstance(found, ImageIndex):
                raise RegistryError(f"manifest: {reference}: no image for {platform}", "leave --platform out")
    _show(reference, document.raw)
    return 0


def _show(reference: ImageReference, raw: bytes) -> None:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise RegistryError(f"manifest: {reference}: the registry's answer is not JSON") from None
    if sys.stdout.isatty():
        print(json.dumps(document, indent=4, ensure_ascii=True))
    else:
        sys.stdout.buffer.write(raw)
