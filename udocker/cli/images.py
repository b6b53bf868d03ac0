"""``udocker images``."""

from __future__ import annotations

import argparse
import os

from udocker.cli.output import printable
from udocker.config import Config
from udocker.store.store import Store

DESCRIPTION = "List the images that were pulled."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("-a", "--all", "--no-trunc", action="store_true", help="accepted: all are shown")
    # Not "quiet", which is udocker's own option for less of what is said of the work.
    parser.add_argument(
        "-q",
        "--quiet",
        dest="names_alone",
        action="store_true",
        help="the names alone, as run, rmi and save take them",
    )
    parser.add_argument("-l", "--long", action="store_true", help="with directory and layers")
    parser.add_argument("-p", "--platform", action="store_true", help="with the platform")
    parser.add_argument("image", metavar="IMAGE", nargs="?", default="", help="those of this name alone")


def run(config: Config, options: argparse.Namespace) -> int:
    """Print one line an image, in udocker's columns."""
    images = Store.at(config).images
    wanted = options.image
    found = [entry for entry in images.entries() if wanted in ("", entry[0], _label(*entry[:2]))]
    if options.names_alone:
        for name, tag, _ in found:
            print(_label(name, tag))
        return 0
    print("REPOSITORY")
    for name, tag, directory in found:
        mark = "P" if images.is_protected(directory) else "."
        label = _label(name, tag)
        if options.platform:
            print(f"{images.platform(directory):<18.18} {mark} {label}")
        else:
            print(f"{label}    {mark}")
        if options.long:
            print(f" {directory}")
            for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
                if entry.is_symlink() and os.path.exists(entry.path):
                    print(f"    /{entry.name} ({-(-entry.stat().st_size // (1 << 20))} MB)")
    return 0


def _label(name: str, tag: str) -> str:
    """A digest is joined by @, so that the line can be given back to udocker run."""
    return printable(f"{name}@{tag}" if ":" in tag else f"{name}:{tag}")
