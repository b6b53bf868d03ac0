"""``udocker top``."""

from __future__ import annotations

import argparse
import os
import pwd

from udocker.cli.output import printable
from udocker.config import Config
from udocker.run.runs import ContainerRuns, directory_of, not_running
from udocker.store.store import Store
from udocker.system.processes import Process, command_of

DESCRIPTION = "List the processes of a container's runs on this node, as the host sees them."

_TRACER = "udocker-tracer"  # as udocker/native/tracer/start.c names it
_COLUMNS = "{:<12} {:>8} {:>8} {:>8} {}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's argument."""
    parser.add_argument("container", metavar="CONTAINER")


def run(config: Config, options: argparse.Namespace) -> int:
    """Print one line a process."""
    store = Store.at(config)
    runs = ContainerRuns.of(store, directory_of(store, options.container, "top"))
    if not (runs.live or runs.joined):
        raise not_running("top", options.container, runs)
    print(_COLUMNS.format("USER", "PID", "PPID", "TIME", "COMMAND"))
    for process in runs.family():
        if process.name == _TRACER:
            continue  # no program of the container's
        command = printable(command_of(process))
        print(_COLUMNS.format(_user(process.uid), process.pid, process.parent, _time(process), command))
    return 0


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)  # a cluster's nodes need not know every user


def _time(process: Process) -> str:
    seconds = process.ticks // os.sysconf("SC_CLK_TCK")
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
