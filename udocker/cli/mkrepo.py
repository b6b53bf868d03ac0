"""``udocker mkrepo``."""

from __future__ import annotations

import argparse
from pathlib import Path

from udocker.config import Config
from udocker.errors import StoreError, from_os_error
from udocker.store.paths import StorePaths

DESCRIPTION = "Make an empty store in a new directory, to be used as UDOCKER_DIR."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's argument."""
    parser.add_argument("directory", metavar="DIRECTORY")


def run(config: Config, options: argparse.Namespace) -> int:
    """Make it; prints nothing, as udocker."""
    directory = Path(options.directory).absolute()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700)
    except FileExistsError:
        raise StoreError(f"mkrepo: {directory}: already exists", "choose a new directory") from None
    except OSError as error:
        raise from_os_error("mkrepo", error, str(directory)) from error
    StorePaths(str(directory)).create()
    return 0
