"""``udocker install``."""

from __future__ import annotations

import argparse
import os
import re
import sys

from udocker.cli.output import printable, report
from udocker.config import Config
from udocker.engine.binaries import PACKAGE, installed_directory, sums, verify
from udocker.engine.select import MODES, engine_of
from udocker.errors import EXIT_FAILURE, EngineUnavailable, UsageError
from udocker.system.files import is_there

DESCRIPTION = """Check the engines of this package: there, executable, with the recorded checksums.

With --from they are taken from a tar archive with the SHA-256 that is given, and are used instead."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--force", action="store_true", help="accepted: what is installed is replaced anyway")
    parser.add_argument("--purge", action="store_true", help="first remove what --from has installed")
    parser.add_argument("--from", dest="source", default="", metavar="FILE|URL", help="an archive of engines")
    parser.add_argument("--sha256", default="", metavar="HEX", help="the archive's SHA-256: 64 digits")


def run(config: Config, options: argparse.Namespace) -> int:
    """Purge, install, verify; prints one line a program and one an engine."""
    source = options.source or (config.tarball if options.sha256 else "")
    if options.source and not options.sha256:
        raise UsageError("install: --from: no --sha256", "ask whoever made the archive for its checksum")
    if options.sha256 and not re.fullmatch("[0-9a-fA-F]{64}", options.sha256):
        raise UsageError(f"install: --sha256 {printable(options.sha256)}: not 64 hexadecimal digits")
    if config.tarball and not source:
        # Where udocker 1.3's engines are; scripts that set it go on with those of this package.
        print("udocker: install: UDOCKER_TARBALL: not used without --sha256", file=sys.stderr)
    if options.purge or source:
        from udocker.run.engines import install_engines, purge_engines

        if options.purge:
            purge_engines(config)
        if source:
            install_engines(config, source, options.sha256.lower())
    return _verify(config)


def _verify(config: Config) -> int:
    status = 0
    installed = installed_directory(config.udocker_dir)
    for directory in (PACKAGE, *([installed] if is_there(installed) else [])):
        for program in sums(directory):
            try:
                verify(program, directory)
                print(f"{printable(os.path.join(directory, program))}: ok")
            except EngineUnavailable as error:
                report("udocker", error)
                status = EXIT_FAILURE
    for mode in MODES:
        support = engine_of(mode, config.udocker_dir).check(mode)
        reason = "works here" if support.available else f"no: {printable(support.reason)}"
        print(f"{mode.value}: {reason}")
    return status
