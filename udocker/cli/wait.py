"""``udocker wait``."""

from __future__ import annotations

import argparse

from udocker.cli.each import each
from udocker.config import Config
from udocker.errors import EngineError
from udocker.run.runs import ContainerRuns, directory_of, not_running, wait_for_end
from udocker.store.store import Store

DESCRIPTION = """Wait until nothing runs in containers on this node any more; prints each one's exit status.

It is the status of the run in the background that was started last; of runs in the foreground only those who
started them are told."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("containers", metavar="CONTAINER", nargs="+")


def run(config: Config, options: argparse.Namespace) -> int:
    """Wait for each, in turn."""
    store = Store.at(config)

    def act(name: str) -> None:
        print(_status(store, name), flush=True)

    return each(options.containers, act, ignore_missing=False)


def _status(store: Store, name: str) -> int:
    directory = directory_of(store, name, "wait")
    runs = ContainerRuns.of(store, directory)
    if not runs.live and runs.over is None:
        raise not_running("wait", name, runs)
    status = wait_for_end(store, runs)
    if status is None:
        raise EngineError(
            f"wait: {name}: ended, with a status that nobody was told",
            "runs in the foreground tell it to those who started them, and who waits for others was killed",
        )
    return status
