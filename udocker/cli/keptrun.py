"""Runs of ``udocker run`` that somebody waits for: those with ``--rm``, and all in the background."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Callable

from udocker.cli.run import ports_of
from udocker.config import Config
from udocker.engine.base import Launch
from udocker.errors import NotFoundError, StoreError
from udocker.log import Log
from udocker.model.container import Container
from udocker.model.runspec import RunSpec
from udocker.run.background import start_in_background
from udocker.run.keeper import Keeper, settle_intention
from udocker.run.plan import choice_of, plan_run
from udocker.run.wait import run_and_wait
from udocker.store.store import Store

_LOG = Log(__name__)


def run_kept(
    config: Config,
    container: Container,
    options: argparse.Namespace,
    spec: RunSpec,
    remove: bool,
    is_new: bool,
) -> int:
    """Run, and with ``remove`` take the container away at the end; the exit status.

    In the background it is 0 once the program runs, and the container's id is printed.  A container that was
    there stays where the run cannot be planned, and one that ``is_new`` goes if it was to.
    """
    store = Store.at(config)
    try:
        choice = choice_of(config, container, spec)
        launch = plan_run(config, container, spec, os.environ, choice=choice)
        ports = ports_of(launch, options)
    except BaseException:
        if remove and is_new:
            _remove(store, container)
        raise

    def begin() -> Keeper:
        keeper = Keeper.begin(store, container, launch, choice[1].value, remove, ports)
        if is_new:
            settle_intention(store, container.id, keeper.run)
        return keeper

    if options.detach:
        return _in_background(store, container, launch, begin, config.output_size)
    return _in_foreground(store, container, launch, begin)


def _in_background(
    store: Store, container: Container, launch: Launch, begin: Callable[[], Keeper], size: int
) -> int:
    now = time.time()
    begun = start_in_background(launch, begin, size)
    if begun.status == 0:
        print(container.id, flush=True)
        _make_room(store, container, now)
    sys.stderr.buffer.write(begun.words)
    return begun.status


def _make_room(store: Store, container: Container, before: float) -> None:
    """What an earlier run in the background has printed is kept until the next one has begun."""
    try:
        store.runs.forget_ended(container.id, before)
    except OSError as error:
        _LOG.warning("run: %s: what an earlier run printed stays: %s", container.id, error.strerror)


def _in_foreground(store: Store, container: Container, launch: Launch, begin: Callable[[], Keeper]) -> int:
    try:
        keeper = begin()
    except StoreError as error:
        # A disk that is full does not hinder a run that writes nothing.
        _LOG.warning("%s; the run goes on, and is not known", error.message)
        settle_intention(store, container.id)
        return _run_unknown(store, container, launch)
    status = None
    try:
        status = run_and_wait(launch, keeper.note_program)
        return status
    finally:
        keeper.end(status)


def _run_unknown(store: Store, container: Container, launch: Launch) -> int:
    try:
        return run_and_wait(launch)
    finally:
        _remove(store, container)


def _remove(store: Store, container: Container) -> None:
    try:
        store.containers.remove(container.directory)
    except NotFoundError:
        return  # somebody else was first: it is gone, as was asked
