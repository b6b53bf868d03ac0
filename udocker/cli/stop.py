"""``udocker stop``."""

from __future__ import annotations

import argparse
import math
import signal

from udocker.cli.each import each
from udocker.cli.signals import signal_number
from udocker.config import Config
from udocker.errors import NotFoundError, StoreCorrupt, UsageError
from udocker.run.runs import ContainerRuns, directory_of, not_running, stop
from udocker.store.store import Store

DESCRIPTION = """End what runs in containers on this node: SIGTERM, and after some seconds SIGKILL.

All runs of a container end, with everything that they have started and all that has joined them. Where
nothing runs any more there is nothing to do, as in docker."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare docker's options."""
    add = parser.add_argument
    add(
        "-t", "--time", "--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="10 where not given"
    )
    add(
        "-s",
        "--signal",
        default="",
        metavar="SIGNAL",
        help="instead of SIGTERM, or of what the image has for it",
    )
    add("containers", metavar="CONTAINER", nargs="+")


def run(config: Config, options: argparse.Namespace) -> int:
    """Stop each, and print it."""
    store = Store.at(config)
    asked = signal_number("stop", options.signal) if options.signal else None

    def act(name: str) -> None:
        directory = directory_of(store, name, "stop")
        runs = ContainerRuns.of(store, directory)
        if not runs.live and (runs.elsewhere or runs.tasks):
            raise not_running("stop", name, runs)
        # As in docker a negative time waits as long as it takes.
        seconds = options.time if options.time >= 0 else float("inf")
        stop(runs, asked or _of_image(store, name), seconds)
        print(name, flush=True)

    return each(options.containers, act, ignore_missing=False)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise argparse.ArgumentTypeError(f"{text!r}: not a number of seconds")
    return value


def _of_image(store: Store, name: str) -> int:
    """The image's STOPSIGNAL."""
    try:
        word = store.containers.find(name).config.stop_signal
    except (NotFoundError, StoreCorrupt):
        word = ""  # a damaged container can be stopped all the same
    try:
        return signal_number("stop", word) if word else signal.SIGTERM
    except UsageError:
        return signal.SIGTERM  # as docker has it, for an image that names none
