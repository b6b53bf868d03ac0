"""Runs in the background: a process of its own waits for the program and keeps what it prints.

There is no daemon: one process a run, which ends with it.  If it is killed the program goes on, without
anybody who reads what it prints.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, NoReturn, Optional

from udocker.engine.base import Launch
from udocker.errors import EXIT_FAILURE, EngineError, StoreError, UdockerError, from_os_error
from udocker.run.execute import spawn
from udocker.run.keeper import Keeper
from udocker.run.output import OutputWriter, read
from udocker.run.wait import exit_status, forwarded_signals
from udocker.system.family import ended_family
from udocker.values import dataclass

# The launchers' own statuses: docker-run(1), section EXIT STATUS.
_NOT_STARTED = (125, 126, 127)
# What their words begin with.
_LAUNCHERS = b"udocker: "
# Seconds until a program counts as started that still looks like its launcher, and to look again.
_PATIENCE, _LOOK = 10.0, 0.005
# Seconds for what is left in the pipes of a program that has ended.
_REST = 1.0
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Begun:
    """How a run in the background began: status 0 for a program that runs, else what its launcher said."""

    status: int
    words: bytes = b""


def start_in_background(launch: Launch, begin: Callable[[], Keeper], size: int) -> Begun:
    """Start the program in a session of its own and return when it runs, or has failed to.

    ``begin`` makes the keeper, in the process that it is; ``size`` is for its output.  Raises StoreError,
    EngineError.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _become_keeper(launch, begin, size, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    kind, _, words = answer.partition(b"\0")
    if kind == b"error":
        message, _, hint = os.fsdecode(words).partition("\0")
        raise StoreError(message, hint)
    if not kind:
        raise EngineError("run: the process that waits for the program was killed", "try again")
    return Begun(int(kind), words)


def _become_keeper(launch: Launch, begin: Callable[[], Keeper], size: int, told: int) -> NoReturn:
    """The new process: nothing of the caller's session stays open, so that nobody waits for it."""
    status = EXIT_FAILURE
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        os.dup2(told, 3)
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 3:
                _close(int(name))
        os.set_inheritable(3, False)
        status = _keep(launch, begin(), size, 3)
    except UdockerError as error:
        _tell(3, f"error\0{error.message}\0{error.hint}".encode("utf-8", "surrogateescape"))
    except OSError as error:
        _tell(3, f"error\0{from_os_error('run', error).message}\0".encode("utf-8", "surrogateescape"))
    except Exception as error:  # noqa: BLE001 - of a defect nobody would learn: this process has no terminal
        _tell(3, f"error\0run: {error!r}\0this is a defect of udocker".encode("utf-8", "surrogateescape"))
    finally:
        os._exit(status)


def _close(number: int) -> None:
    """Close a descriptor that may not be open any more."""
    try:
        os.close(number)
    except OSError:
        return  # that of the listing itself


def _tell(told: int, answer: bytes) -> None:
    try:
        os.write(told, answer)
        os.close(told)
    except OSError:
        return  # the caller was killed, or has had its answer


def _keep(launch: Launch, keeper: Keeper, size: int, told: int) -> int:
    status: Optional[int] = None
    try:
        writer = OutputWriter(keeper.run.log, keeper.run.log_before, size)
        with forwarded_signals() as child, ended_family():
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            process = spawn(launch, preexec_fn=keeper.note_program, **pipes)
            child.start(process)
            watch = _Watch(process, writer, launch, told)
            code = watch.run()
        watch.drain()
        writer.close()
        status = exit_status(code)
        words = b"" if watch.has_begun else _words_of_launcher(keeper, status)
        if words:
            keeper.end(None)
            _tell(told, b"%d\0%s" % (status, words))
            return status
        if not watch.has_begun:
            _tell(told, b"0\0")
    except BaseException:
        keeper.end(None)
        raise
    keeper.end(status)
    return status


def _words_of_launcher(keeper: Keeper, status: int) -> bytes:
    """What the launcher said that could not start the program; nothing where it was the program that ended.

    Programs end with the launchers' statuses as well, as a shell does that does not find a command.
    """
    if status not in _NOT_STARTED:
        return b""
    pieces = read(keeper.run.log, keeper.run.log_before, None, b"")
    words = b"".join(piece.text + b"\n" for piece in pieces)
    return words if words.startswith(_LAUNCHERS) else b""


class _Watch:
    """Reads what a program prints until it ends, and tells once that it runs."""

    def __init__(
        self, process: subprocess.Popen[bytes], writer: OutputWriter, launch: Launch, told: int
    ) -> None:
        assert process.stdout is not None and process.stderr is not None
        self.has_begun = False
        self._process, self._writer, self._told = process, writer, told
        self._names = {process.stdout.fileno(): "stdout", process.stderr.fileno(): "stderr"}
        self._launcher = os.path.basename(launch.argv[0])[:15]
        self._until = time.monotonic() + _PATIENCE
        self._poll = select.poll()
        for number in self._names:
            os.set_blocking(number, False)
            self._poll.register(number, select.POLLIN)

    def run(self) -> int:
        """Until the program has ended; its return code."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        former = signal.set_wakeup_fd(writing)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._poll.register(reading, select.POLLIN)
        while self._process.poll() is None:
            self._look()
            ready = self._poll.poll(None if self.has_begun else _LOOK * 1000)
            for number, _ in ready:
                if number == reading:
                    os.read(reading, _BLOCK)
                else:
                    self._read(number)
            _reap(self._process)
        self._poll.unregister(reading)
        signal.set_wakeup_fd(former)
        return self._process.returncode

    def drain(self) -> None:
        """What is left in the pipes; who holds them open although the program has ended is not waited for."""
        until = time.monotonic() + _REST
        while self._names and time.monotonic() < until:
            for number, _ in self._poll.poll(_REST * 1000):
                self._read(number)

    def _look(self) -> None:
        """The launcher's name is the process's until it becomes the program."""
        if self.has_begun:
            return
        try:
            name = Path(f"/proc/{self._process.pid}/comm").read_bytes().rstrip(b"\n")
        except OSError:
            return  # it has ended
        if os.fsdecode(name) != self._launcher or time.monotonic() > self._until:
            self.has_begun = True
            _tell(self._told, b"0\0")

    def _read(self, number: int) -> None:
        try:
            data = os.read(number, _BLOCK)
        except BlockingIOError:
            return
        if data:
            self._writer.write(self._names[number], data)
        else:
            self._poll.unregister(number)
            del self._names[number]


def _reap(program: subprocess.Popen[bytes]) -> None:
    """Take note of orphans of the program's that have ended, and of the program itself."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid == program.pid:
            program.returncode = os.waitstatus_to_exitcode(status)
            return
