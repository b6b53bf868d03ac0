"""``udocker run``."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import Optional

from udocker.cli.output import progress
from udocker.config import Config
from udocker.errors import NotFoundError, StoreError, UsageError
from udocker.model.container import Container
from udocker.model.mode import ExecutionMode
from udocker.model.mount import Mount
from udocker.model.reference import ImageReference
from udocker.model.runspec import RunSpec
from udocker.run.execute import execute, run_and_wait
from udocker.run.plan import plan_run
from udocker.store.containers import check_name
from udocker.store.store import Store

DESCRIPTION = """Run a command in a container, or in a new one of an image (pulled where it is not here).

The exit status is the command's; 125 where udocker itself fails, 126 where the command cannot be
executed, 127 where it is not found."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options, docker's and udocker's."""
    add = parser.add_argument
    add("-v", "--volume", action="append", default=[], metavar="SOURCE[:TARGET][:ro]", help="bind a path")
    add("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="set a variable")
    add("-w", "--workdir", default="", metavar="DIR", help="the directory to run in")
    add(
        "-u",
        "--user",
        default="",
        metavar="USER[:GROUP]",
        help="name or number; root where the image has none",
    )
    add("--name", default="", help="a name for the new container")
    add("--entrypoint", default=None, metavar="COMMAND", help="instead of the image's; '' for none")
    add("--rm", action="store_true", help="remove the new container at the end")
    add("--nosysdirs", action="store_true", help="do not bind the host's /etc/resolv.conf and /etc/hosts")
    add("--execmode", default="", metavar="MODE", help="the execution mode, as R1")
    add("-i", "--interactive", action="store_true", help="accepted: standard input is always passed")
    add("-t", "--tty", action="store_true", help="accepted: a terminal is always passed")
    add("object", metavar="CONTAINER|IMAGE")
    add("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="and its arguments")


def run(config: Config, options: argparse.Namespace) -> int:
    """Run; without ``--rm`` this process becomes the command."""
    spec = _spec(options)
    container, is_new = _container(config, options)
    if not (is_new and options.rm):
        execute(plan_run(config, container, spec, os.environ))
    try:
        return run_and_wait(plan_run(config, container, spec, os.environ))
    finally:
        Store.at(config).containers.remove(container.directory)


def _spec(options: argparse.Namespace) -> RunSpec:
    entrypoint: Optional[tuple[str, ...]] = None
    if options.entrypoint is not None:
        try:
            entrypoint = tuple(shlex.split(options.entrypoint))
        except ValueError as error:
            message = f"run: --entrypoint {options.entrypoint!r}: {error}"
            raise UsageError(message, "quote as in a shell") from None
    return RunSpec(
        command=tuple(options.command),
        entrypoint=entrypoint,
        env=tuple(pair for text in options.env for pair in _variable(text)),
        workdir=options.workdir,
        user=options.user,
        mounts=tuple(Mount.parse(text, _directory()) for text in options.volume),
        mode=ExecutionMode.parse(options.execmode) if options.execmode else None,
        system_mounts=not options.nosysdirs,
    )


def _directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return "/proc/self/cwd"  # deleted under us: an absolute path needs none, others are not found


def _variable(text: str) -> list[tuple[str, str]]:
    """``NAME=VALUE``, or ``NAME`` for the value that it has here, if any, as docker does."""
    name, equals, value = text.partition("=")
    if not name:
        raise UsageError(f"run: --env {text!r}: no name", "write NAME=VALUE")
    if equals:
        return [(name, value)]
    return [(name, os.environ[name])] if name in os.environ else []


def _container(config: Config, options: argparse.Namespace) -> tuple[Container, bool]:
    store = Store.at(config)
    try:
        return store.containers.find(options.object), False
    except NotFoundError:
        pass  # then it is an image
    try:
        reference = ImageReference.parse(options.object)
    except UsageError:
        message = f"run: {options.object!r}: no such container, and not an image reference"
        raise NotFoundError(message, "see udocker ps and udocker images") from None
    if options.name:
        check_name(options.name)
        if store.containers.is_taken(options.name):
            raise StoreError(f"run: {options.name}: name already taken", f"udocker run {options.name} ...")
    # Imported only here: running a container that is there needs no HTTP, and half the start-up is imports.
    from udocker.run.images import create, ensure_image

    with progress(options.quiet) as bars:
        ensure_image(config, reference, bars)
    return create(config, reference, options.name), True
