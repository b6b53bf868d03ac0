"""Start a Launch and wait for its end, with the signals that come meanwhile."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Callable, Optional

from udocker.engine.base import Launch
from udocker.run.execute import spawn
from udocker.system.family import ended_family

# What a batch system or a user sends to the process that it knows.
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# What a terminal sends to the program as well: only not to die of it before the program does.
_SHARED = (signal.SIGINT, signal.SIGQUIT)


def run_and_wait(launch: Launch, at_start: Optional[Callable[[], None]] = None) -> int:
    """Run the program as a child and return its exit status, 128+N where signal N killed it.

    ``at_start`` is called in the child, right before it becomes the program.  Signals that this process gets
    meanwhile reach the program.  What it leaves behind ends with it, as docker has it: its container is about
    to go.  Raises EngineError.
    """
    with forwarded_signals() as child, ended_family():
        # As without --rm: what was inherited passes on.
        process = spawn(launch, close_fds=False, preexec_fn=at_start)
        child.start(process)
        status = process.wait()
    return exit_status(status)


def exit_status(code: int) -> int:
    """Popen's return code as a shell tells it."""
    return code if code >= 0 else 128 - code


class Child:
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
def forwarded_signals() -> Iterator[Child]:
    """Forward signals for the block.  One that is ignored stays so: nohup(1) and shells rely on it."""
    child = Child()
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
