"""Carry out a Launch: become it, or start it and wait.

Arguments and environment are bytes to the kernel; os.fsencode gives back the very bytes that came in
undecodable (PEP 383).
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, Optional

from udocker.engine.base import Launch
from udocker.errors import EngineError
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

# Python ignores these at its start (signal module, general rules); a program must not inherit that.
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFZ", "SIGXFSZ")
# What a batch system or a user sends to the process that it knows.
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# What a terminal sends to the program as well: only not to die of it before the program does.
_SHARED = (signal.SIGINT, signal.SIGQUIT)


def execute(launch: Launch) -> NoReturn:
    """Become the container's program; raises EngineError where that fails."""
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
        raise _failed(launch, error) from error


def spawn(launch: Launch, **options: Any) -> subprocess.Popen[bytes]:
    """Start the program as a child; ``options`` are Popen's.  Raises EngineError."""
    import subprocess  # not for those who become the program

    try:
        return subprocess.Popen(launch.argv, env=launch.env, cwd=launch.cwd, **options)
    except OSError as error:
        raise _failed(launch, error) from error


def run_and_wait(launch: Launch) -> int:
    """Run the program as a child and return its exit status, 128+N where signal N killed it.

    Signals that this process gets meanwhile reach the program.  What it leaves behind ends with it, as
    docker has it: its container is about to go.  Raises EngineError.
    """
    # Imported only here: it is not for those who become the program.
    from udocker.system.family import ended_family

    with _signals() as child, ended_family():
        process = spawn(launch, close_fds=False)  # as without --rm: what was inherited passes on
        child.start(process)
        status = process.wait()
    return status if status >= 0 else 128 - status


class _Child:
    """The child that signals are for; those that come before it is there are kept for it."""

    def __init__(self) -> None:
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._early: list[int] = []

    def start(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        for number in self._early:
            process.send_signal(number)

    def forward(self, number: int, _frame: Optional[FrameType]) -> None:
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)


@contextmanager
def _signals() -> Iterator[_Child]:
    """Forward signals for the block.  One that is ignored stays so: nohup(1) and shells rely on it."""
    child = _Child()
    handlers: dict[signal.Signals, Any] = {number: child.forward for number in _FORWARDED}
    handlers.update({number: lambda *_: None for number in _SHARED})
    wanted = {number: handler for number, handler in handlers.items() if _is_heeded(number)}
    former = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield child
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _is_heeded(number: signal.Signals) -> bool:
    return signal.getsignal(number) != signal.SIG_IGN


def _failed(launch: Launch, error: OSError) -> EngineError:
    hint = "the arguments and the environment together are too long" if error.errno == errno.E2BIG else ""
    return EngineError(f"run: {launch.argv[0]}: {error.strerror}", hint)
