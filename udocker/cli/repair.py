"""``udocker repair``."""

from __future__ import annotations

import argparse

from udocker.cli.output import printable
from udocker.config import Config
from udocker.errors import EXIT_FAILURE
from udocker.run.notes import noted
from udocker.store.repair import Finding, repair
from udocker.store.store import Store

DESCRIPTION = """Find what crashes, of this or of an older udocker, have left in the store, and mend it.

Prints a line for each thing that was found: mended, or left with a command to run. What living processes make
is not touched. The exit status is 0 where all is whole or mended, and 125 where something is left."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--dry-run", action="store_true", help="change nothing, only tell")
    parser.add_argument(
        "--all",
        action="store_true",
        help="nothing else uses the store, on any node: what may belong to somebody belongs to nobody",
    )


def run(config: Config, options: argparse.Namespace) -> int:
    """Repair, a line a finding."""
    status = 0
    for finding in repair(Store.at(config), options.all, options.dry_run, _has_note):
        print(printable(_line(finding, options.dry_run)), flush=True)
        if not finding.mended:
            status = EXIT_FAILURE
    return status


def _has_note(container_id: str) -> bool:
    return any(True for _ in noted(container_id))


def _line(finding: Finding, dry_run: bool) -> str:
    if not finding.mended:
        return f"left: {finding.what}: {finding.what_now}"
    return f"{'would mend' if dry_run else 'mended'}: {finding.what}: {finding.what_now}"
