"""``udocker export``."""

from __future__ import annotations

import argparse

from udocker.cli.archivefile import STANDARD, open_output
from udocker.config import Config
from udocker.errors import UsageError
from udocker.run.archives import export

DESCRIPTION = "Write a container's files as a tar archive, on standard output where no file is given."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="the file to make or replace")
    parser.add_argument(
        "--clone", action="store_true", help="with the container's metadata, for udocker import --clone"
    )
    parser.add_argument("container", metavar="[-] CONTAINER", nargs="+")


def run(config: Config, options: argparse.Namespace) -> int:
    """Export; nothing is printed."""
    names = list(options.container)
    if names[0] == STANDARD:
        names.pop(0)
    if len(names) != 1:
        raise UsageError("export: one container at a time", "see udocker export --help")
    output = open_output("export", options.output or STANDARD, replace=True)
    export(config, names[0], output, options.clone)
    return 0
