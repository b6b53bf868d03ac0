"""One rank of a step: of those on a node one makes the container ready, and each becomes its program."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from typing import NoReturn

from udocker import api

from .environment import step_variables
from .siblings import leader_of
from .task import place_for, run_spec, terminable
from .taskspec import TaskSpec

# Seconds for the first rank of a node to make the container; after that each has one of its own.
_PATIENCE = 60.0
# Python ignores these at its start (signal module, general rules); a program must not inherit that.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def run_rank(config: api.Config, spec: TaskSpec, environ: Mapping[str, str]) -> NoReturn:
    """Become the program of a rank: signals, terminal and exit status are its own.

    Descriptors that are marked to survive an exec do: MPI's process managers hand theirs down by number.
    Raises UdockerError, OSError.
    """
    config = spec.config(config)
    environ = {**environ, **step_variables(environ)}
    with ExitStack() as kept:
        with terminable():
            place = kept.enter_context(place_for(config, spec, environ, keep=True))
        container = place.preparation.container
        argv, env, cwd = api.plan(place.config, container, run_spec(spec, environ), environ)
        leader = leader_of(environ, argv[0], _PATIENCE) if api.beside(argv, 0, 0) != argv else None
        if leader is not None:
            argv = api.beside(argv, leader.pid, leader.start)
        for number in _IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        if cwd is not None:
            os.chdir(cwd)
        os.execve(argv[0], argv, env)
