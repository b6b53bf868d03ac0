"""``udocker ps``."""

from __future__ import annotations

import argparse
import os

from udocker.cli.output import printable
from udocker.config import Config
from udocker.errors import NotFoundError, StoreCorrupt
from udocker.model.container import Container
from udocker.run.modes import effective_mode
from udocker.run.runs import all_runs
from udocker.store.store import Store
from udocker.system.files import tree_size

DESCRIPTION = """List the containers: id, P for protected, W or R for writable or not, names, image.

A column more where any of them runs, or has run in the background: what is known of that on this node."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("-a", "--all", action="store_true", help="all: of use with -q, others are all shown")
    parser.add_argument("--no-trunc", action="store_true", help="accepted: nothing is cut off")
    # Not "quiet", which is udocker's own option for less of what is said of the work.
    parser.add_argument(
        "-q",
        "--quiet",
        dest="ids_alone",
        action="store_true",
        help="the ids alone, of those in which something runs; with -a of all",
    )
    parser.add_argument("-m", "--mode", action="store_true", help="with the execution mode")
    parser.add_argument("-s", "--size", action="store_true", help="with the size in MB")
    parser.add_argument("-p", "--platform", action="store_true", help="with the platform")


def run(config: Config, options: argparse.Namespace) -> int:
    """Print one line a container, in udocker's columns."""
    extra = [("MOD ", options.mode), ("SIZE ", options.size), ("PLATFORM           ", options.platform)]
    middle = "".join(title for title, wanted in extra if wanted)
    store = Store.at(config)
    containers, runs = store.containers, all_runs(store)
    if options.ids_alone:
        in_use = {directory.rpartition("/")[2] for directory, one in runs.items() if one.is_in_use}
        for container_id in containers.ids():
            if options.all or container_id in in_use:
                print(printable(container_id))
        return 0
    words = {directory: text for directory, one in runs.items() if (text := one.in_words())}
    title = " STATUS" if words else ""
    print(f"{'CONTAINER ID':<36} P M {middle}{'NAMES':<18} {'IMAGE':<20}{title}")
    for container_id in containers.ids():
        try:
            container = containers.find(container_id)
        except (NotFoundError, StoreCorrupt):
            # An older udocker leaves such directories behind; they are listed, not hidden.
            print(f"{container_id:<36.36} . N")
            continue
        columns = [
            (f"{_mode(config, container) if options.mode else '':<2.2} ", options.mode),
            (f"{tree_size(container.root) >> 20 if options.size else 0:>5} ", options.size),
            (f"{container.config.platform!s:<18.18} ", options.platform),
        ]
        middle = "".join(text for text, wanted in columns if wanted)
        protected = "P" if containers.is_protected(container.directory) else "."
        writable = "W" if os.access(container.root, os.W_OK) else "R"
        names = str(list(container.names)) if container.names else ""  # as scripts know it
        image = printable(container.image)
        status = f" {printable(words[container.directory])}" if container.directory in words else ""
        print(f"{container.id:<36.36} {protected} {writable} {middle}{names:<18} {image:<20}{status}")
    return 0


def _mode(config: Config, container: Container) -> str:
    try:
        return effective_mode(config, container).value
    except StoreCorrupt:
        return "?"  # what is recorded is no mode; udocker setup mends it
