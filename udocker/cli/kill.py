"""``udocker kill``."""

from __future__ import annotations

import argparse

from udocker.cli.each import each
from udocker.cli.signals import signal_number
from udocker.config import Config
from udocker.run.runs import ContainerRuns, directory_of, kill_runs, not_running
from udocker.store.store import Store

DESCRIPTION = """Send a signal to the programs that run in containers on this node.

SIGKILL, which is sent where none is given, ends all that they have started as well."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare docker's options."""
    parser.add_argument("-s", "--signal", default="KILL", metavar="SIGNAL", help="name or number")
    parser.add_argument("containers", metavar="CONTAINER", nargs="+")


def run(config: Config, options: argparse.Namespace) -> int:
    """Signal each, and print it."""
    store = Store.at(config)
    number = signal_number("kill", options.signal)

    def act(name: str) -> None:
        runs = ContainerRuns.of(store, directory_of(store, name, "kill"))
        if not runs.live:
            raise not_running("kill", name, runs)
        kill_runs(runs, number)
        print(name, flush=True)

    return each(options.containers, act, ignore_missing=False)
