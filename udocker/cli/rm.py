"""``udocker rm``."""

from __future__ import annotations

import argparse
import os
import signal

from udocker.cli.each import each
from udocker.config import Config
from udocker.errors import NotFoundError, StoreError
from udocker.run.runs import ContainerRuns, kill_runs
from udocker.store.store import Store

DESCRIPTION = """Remove containers with everything in them; their images stay.

One that runs on this node, or in the background of another one, is removed with --force only."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("containers", metavar="CONTAINER", nargs="+")
    parser.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="kill what runs in it; a container that is not there is no failure",
    )
    parser.add_argument(
        "-v", "--volumes", action="store_true", help="accepted: nothing of a container lies elsewhere"
    )


def run(config: Config, options: argparse.Namespace) -> int:
    """Remove each."""
    store = Store.at(config)
    return each(options.containers, lambda name: _remove(store, name, options.force), options.force)


def _remove(store: Store, name: str, force: bool) -> None:
    try:
        directory = store.containers.directory(name)
    except NotFoundError:
        print(store.containers.forget(name))
        return
    if store.containers.is_protected(directory):
        raise StoreError(f"rm: {name}: protected", f"udocker unprotect {name}")
    store.containers.refuse_lower(directory, "rm")
    runs = ContainerRuns.of(store, directory)
    if runs.tasks:
        hint = "udocker-batch cancel JOBID ends them"
        raise StoreError(f"rm: {name}: {runs.in_words()}, of them {len(runs.tasks)} of jobs", hint)
    if force:
        kill_runs(runs, signal.SIGKILL)
    elif runs.is_in_use:
        raise StoreError(f"rm: {name}: {runs.in_words()}", f"udocker stop {name}, or rm --force")
    try:
        store.containers.remove(directory)
    except NotFoundError:
        if not runs.live:
            raise  # somebody else was faster; else a run with --rm, which takes it away when it ends
    print(os.path.basename(directory))
