"""``udocker pull``."""

from __future__ import annotations

import argparse

from udocker.cli.output import progress
from udocker.cli.registryoptions import add_registry_options, with_registry
from udocker.config import Config
from udocker.model.manifest import Platform
from udocker.model.reference import ImageReference
from udocker.run.images import pull
from udocker.values import replace

DESCRIPTION = "Fetch an image from a registry: docker.io's, or any HOST[:PORT]/NAME[:TAG][@DIGEST]."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "image", metavar="IMAGE", help="as in debian:12 or quay.io/biocontainers/samtools:1.9"
    )
    parser.add_argument("--platform", metavar="OS/ARCH", help="another platform than this machine's")
    add_registry_options(parser)
    parser.add_argument("--insecure", action="store_true", help="allow plain HTTP and unverified TLS")
    parser.add_argument("-q", "--quiet", action="store_true", help="print the image's name alone")


def run(config: Config, options: argparse.Namespace) -> int:
    """Pull, then print the image's name and digest."""
    if options.insecure:
        config = replace(config, insecure=True)
    config = with_registry(config, options)
    reference = ImageReference.parse(options.image)
    platform = Platform.parse(options.platform) if options.platform else None
    with progress(options.quiet) as bars:
        image = pull(config, reference, platform, bars)
    print(f"{reference}" if options.quiet else f"{reference}: {image.digest}")
    return 0
