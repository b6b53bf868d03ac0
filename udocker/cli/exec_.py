"""``udocker exec``."""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

from udocker.cli.output import report
from udocker.cli.run import environment
from udocker.config import Config
from udocker.engine.base import Launch
from udocker.errors import EXIT_FAILURE, UdockerError, from_os_error
from udocker.model.container import Container
from udocker.model.runrecord import EXEC
from udocker.model.runspec import RunSpec
from udocker.run.execute import execute
from udocker.run.join import plan_join
from udocker.run.notes import drop, note
from udocker.run.runs import ContainerRuns, LiveRun
from udocker.run.wait import exit_status
from udocker.store.store import Store

DESCRIPTION = """Run a command in a container that runs on this node: same root, binds, mode and variables.

Where several runs of the container are alive, in the one that was started last. The exit status is the
command's; 125 where udocker itself fails, 126 where the command cannot be executed, 127 where it is not
found."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare docker's options."""
    add = parser.add_argument
    add("-d", "--detach", action="store_true", help="return once it has started; what it prints is not kept")
    add("-i", "--interactive", action="store_true", help="accepted: standard input is always passed")
    add("-t", "--tty", action="store_true", help="accepted: a terminal is always passed")
    add("-e", "--env", action="append", default=[], metavar="NAME[=VALUE]", help="set a variable")
    add("--env-file", action="append", default=[], metavar="FILE", help="set those of a file, one a line")
    add(
        "-w",
        "--workdir",
        default="",
        metavar="DIR",
        help="the directory to run in; the run's where not given",
    )
    add("-u", "--user", default="", metavar="USER[:GROUP]", help="name or number; the run's where not given")
    add("container", metavar="CONTAINER")
    add("program", metavar="PROGRAM")
    add("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER)


def run(config: Config, options: argparse.Namespace) -> int:
    """Become the command, or with ``--detach`` start it."""
    store = Store.at(config)
    container = store.containers.find(options.container)
    target = ContainerRuns.of(store, container.directory).newest("exec", options.container)
    spec = RunSpec(
        command=(options.program, *options.arguments),
        env=tuple(environment(options, "exec")),
        workdir=options.workdir,
        user=options.user,
    )
    program, detached = target.program, options.detach
    launch = plan_join(config, container, target.record, program, spec, os.environ, detached)
    begin = _start_apart if detached else _become
    return begin(container, launch, target)


def _become(container: Container, launch: Launch, target: LiveRun) -> NoReturn:
    path = note(container, launch, target.record.mode, EXEC)
    try:
        execute(launch, "exec")
    finally:
        drop(path)  # it has not become the program


def _start_apart(container: Container, launch: Launch, target: LiveRun) -> int:
    """Start it in a session of its own, with no input and no output; the status of what did not start."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_apart(container, launch, target, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        words = stream.read()  # the launcher's, to whom it is closed once the program has started
    if not words:
        return 0
    sys.stderr.buffer.write(words)
    return exit_status(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _become_apart(container: Container, launch: Launch, target: LiveRun, told: int) -> NoReturn:
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for number, file in enumerate((nothing, nothing, told)):
            os.dup2(file, number)
        _become(container, launch, target)
    except UdockerError as error:
        report("udocker", error)
    except OSError as error:
        report("udocker", from_os_error("exec", error))
    finally:
        sys.stderr.flush()
        os._exit(EXIT_FAILURE)
