"""One rank of a step: of those on a node one makes the container ready, and each runs its program in it."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import ExitStack

from udocker import api

from .environment import cores_of_a_rank, rank_identity, step_variables
from .recording import Recording
from .siblings import leader_of
from .task import Recorded, Terminable, place_for, run_spec

if api.TYPE_CHECKING:
    from typing import NoReturn, Optional

    from .taskspec import TaskSpec

# Seconds for the first rank of a node to make the container; after that each has one of its own.
_PATIENCE = 60.0
# Python ignores these at its start (signal module, general rules); a program must not inherit that.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def run_rank(config: api.Config, spec: TaskSpec, environ: Mapping[str, str]) -> NoReturn:
    """Become the program of a rank, or where it is accounted the parent of that, udocker-account.

    Signals, terminal and exit status are the program's own.

    Descriptors that are marked to survive an exec do: MPI's process managers hand theirs down by number.
    Raises UdockerError, OSError.
    """
    config = spec.config(config)
    environ = {**environ, **step_variables(environ)}
    record = _recording(config, spec, environ)
    with ExitStack() as kept, Recorded(record):
        with Terminable():
            place = kept.enter_context(place_for(config, spec, environ, keep=True))
        container = place.preparation.container
        argv, env, cwd = api.plan(place.config, container, run_spec(spec, environ), environ)
        leader = leader_of(environ, argv[0], _PATIENCE) if api.beside(argv, 0, 0) != argv else None
        if leader is not None:
            argv = api.beside(argv, leader.pid, leader.start)
        if record is not None:
            record.prepared(place.preparation)
            argv = record.accounted(argv)
        for number in _IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        if cwd is not None:
            os.chdir(cwd)
        os.execve(argv[0], argv, env)


def _recording(config: api.Config, spec: TaskSpec, environ: Mapping[str, str]) -> Optional[Recording]:
    identity = rank_identity(environ) if spec.usage else None
    return None if identity is None else Recording(config, spec, identity, cores_of_a_rank(environ))
