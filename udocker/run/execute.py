"""Carry out a Launch: become it, or start it.

Arguments and environment are bytes to the kernel; os.fsencode gives back the very bytes that came in
undecodable (PEP 383).
"""

from __future__ import annotations

import errno
import os
import signal
import sys

from udocker.engine.base import Launch
from udocker.errors import EngineError
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from typing import Any, NoReturn

# Python ignores these at its start (signal module, general rules); a program must not inherit that.
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFZ", "SIGXFSZ")


def execute(launch: Launch, act: str = "run") -> NoReturn:
    """Become the container's program, for the command ``act``; raises EngineError where that fails."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    for name in _IGNORED_BY_PYTHON:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.chdir(launch.cwd)
        os.execve(launch.argv[0], launch.argv, launch.env)
    except OSError as error:
        raise _failed(act, launch, error) from error


def spawn(launch: Launch, **options: Any) -> subprocess.Popen[bytes]:
    """Start the program as a child; ``options`` are Popen's.  Raises EngineError."""
    import subprocess  # not for those who become the program

    try:
        return subprocess.Popen(launch.argv, env=launch.env, cwd=launch.cwd, **options)
    except OSError as error:
        raise _failed("run", launch, error) from error


def _failed(act: str, launch: Launch, error: OSError) -> EngineError:
    hint = "the arguments and the environment together are too long" if error.errno == errno.E2BIG else ""
    return EngineError(f"{act}: {launch.argv[0]}: {error.strerror}", hint)
