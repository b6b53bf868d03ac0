"""``udocker load``."""

from __future__ import annotations

import argparse

from udocker.cli.archivefile import STANDARD, naming, open_input
from udocker.config import Config
from udocker.errors import UsageError
from udocker.run.archives import load

DESCRIPTION = """Load images from an archive of docker save or an OCI layout in a tar, compressed or not.

It is read from standard input where no file is given.  Prints the images' names."""

_HINT = "is the file complete, and what docker save or podman save wrote, or an OCI layout?"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("-i", "--input", default="", metavar="FILE|-", help="the archive")
    parser.add_argument("image", metavar="[-] [IMAGE]", nargs="*", help="another name for a single image")


def run(config: Config, options: argparse.Namespace) -> int:
    """Load, then print each name."""
    names = list(options.image)
    if names[:1] == [STANDARD]:
        names.pop(0)
    if len(names) > 1:
        raise UsageError(f"load: {names[1]!r}: one name at most", "see udocker load --help")
    file = options.input or STANDARD
    with naming("load", file, _HINT):
        references = load(config, open_input("load", file), "".join(names))
    for reference in references:
        print(reference)
    return 0
