"""``udocker version``."""

from __future__ import annotations

import argparse
import platform

from udocker import __version__
from udocker.config import Config
from udocker.engine.select import MODES
from udocker.model.manifest import Platform

DESCRIPTION = "Print the version of this program and of what it runs on."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options."""


def run(config: Config, options: argparse.Namespace) -> int:
    """Print one fact a line."""
    print(f"version: {__version__}")
    # udocker 1.3 names here where its engines come from.
    print(f"tarball: {config.tarball}")
    print(f"tarball_release: {__version__}")
    print(f"python: {platform.python_version()}")
    print(f"kernel: {platform.release()}")
    print(f"platform: {Platform.host()}")
    print(f"directory: {config.udocker_dir}")
    print(f"modes: {' '.join(mode.value for mode in MODES)}")
    return 0
