"""``udocker port``."""

from __future__ import annotations

import argparse

from udocker.config import Config
from udocker.errors import NotFoundError
from udocker.run.runs import ContainerRuns, directory_of
from udocker.store.store import Store

DESCRIPTION = """List the ports of a container's runs on this node that the host has under other numbers.

Others have the same number on the host, for the network is the host's."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare docker's arguments."""
    parser.add_argument("container", metavar="CONTAINER")
    parser.add_argument("port", metavar="PORT[/PROTOCOL]", nargs="?", default="", help="of this one alone")


def run(config: Config, options: argparse.Namespace) -> int:
    """Print a line for each, as docker does."""
    store, name = Store.at(config), options.container
    runs = ContainerRuns.of(store, directory_of(store, name, "port"))
    runs.newest("port", name)
    ports = [pair for run in runs.live for pair in run.record.ports]
    if not options.port:
        for inner, outer in ports:
            print(f"{inner} -> {outer}")
        return 0
    wanted = options.port if "/" in options.port else f"{options.port}/tcp"
    found = [outer for inner, outer in ports if inner == wanted]
    if not found:
        raise NotFoundError(f"port: {name}: {wanted}: has no other number on the host")
    for outer in found:
        print(outer)
    return 0
