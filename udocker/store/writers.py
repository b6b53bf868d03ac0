"""Processes that write the files of an uncompressed layer, beside the one that reads its headers.

Decompression keeps a second core busy by itself; without it one core would do all the work.  The reader stays
the only one that makes directories and links and that removes anything.  It hands out regular files, each
with the place of its data in the layer, and waits for all of them (``settle``) before anything that depends
on them.  Where the writers have enough to do it writes files as well.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import marshal
import os
import select
import signal
import struct
from collections.abc import Iterable, Sequence

from udocker.errors import StoreError, UnpackError, from_os_error
from udocker.store.contents import finish_file, new_file
from udocker.store.limits import Limits
from udocker.store.rootfs import RootTree, nothing_to_settle, shown

# Directory, name, mode, time in nanoseconds, owner, offset in the layer and size in bytes.
Job = tuple[bytes, bytes, int, int, bytes, int, int]

_MOST = 8
_BATCH_FILES, _BATCH_BYTES = 64, 1 << 20
_WAITING = 3  # batches that a writer has at most
_BLOCK = 1 << 20
_LENGTH = struct.Struct("<I")
_DONE = b"\0"
_PR_SET_PDEATHSIG = 1  # prctl(2)

_LOG = logging.getLogger(__name__)


class Writers:
    """Close it, or use it in a ``with`` block: that ends the processes, whose work may then be half done.

    Every method raises UnpackError, StoreError.
    """

    def __init__(self, root: str, tree: RootTree, layer: int) -> None:
        self._root = root
        self._tree = tree
        self._layer = layer
        # Of its own, so that what the reader has open stays open.
        self._own = RootTree(root, tree.limits)
        self._own_generation = tree.generation
        self._writers: list[_Writer] = []
        self._started = False
        self._jobs: list[Job] = []
        self._bytes = 0

    def __enter__(self) -> Writers:
        self._tree.settle = self.settle
        return self

    def __exit__(self, *_: object) -> None:
        self._tree.settle = nothing_to_settle
        for writer in self._writers:
            writer.end()
        self._own.close()

    def add(self, job: Job) -> None:
        """Have a file written in a directory that is there, whose path goes through no link."""
        self._jobs.append(job)
        self._bytes += job[-1]
        if len(self._jobs) >= _BATCH_FILES or self._bytes >= _BATCH_BYTES:
            self._hand_out()

    def settle(self) -> None:
        """Return when every file is written."""
        jobs, self._jobs, self._bytes = self._jobs, [], 0
        self._write(jobs)
        for writer in self._writers:
            while writer.waiting:
                writer.hear()

    def _hand_out(self) -> None:
        if not self._started:
            self._start()
        jobs, self._jobs, self._bytes = self._jobs, [], 0
        for one in self._writers:
            while one.waiting and one.has_answered():
                one.hear()
        writer = min(self._writers, key=lambda writer: writer.waiting, default=None)
        if writer is not None and writer.waiting < _WAITING:
            writer.send(self._tree.generation, jobs)
        else:
            self._write(jobs)

    def _write(self, jobs: list[Job]) -> None:
        if self._own_generation != self._tree.generation:
            self._own.forget()
            self._own_generation = self._tree.generation
        try:
            write_files(self._own, self._layer, jobs)
        except OSError as error:
            raise from_os_error("unpack", error, os.fsdecode(error.filename or "")) from error

    def _start(self) -> None:
        self._started = True
        for _ in range(min(cores(), _MOST) - 1):
            try:
                writer = _Writer(self._root, self._tree.limits, self._layer, self._writers)
            except OSError as error:
                # Batch systems limit processes and descriptors: the reader writes what nobody else does.
                _LOG.debug("unpack: no further process: %s", error.strerror)
                return
            self._writers.append(writer)


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0))


class _Writer:
    """One process, and the pipes to and from it."""

    def __init__(self, root: str, limits: Limits, layer: int, others: Sequence[_Writer]) -> None:
        self.waiting = 0
        orders, self._orders = _pipe(())
        answers, self._answers = reversed(_pipe((orders, self._orders)))
        try:
            self._pid = os.fork()
        except OSError:
            _close((orders, answers, *self.ends()))
            raise
        if self._pid == 0:
            status = 1
            try:
                # With the reader's ends open here, its end would not be seen.
                _close((*self.ends(), *(fd for one in others for fd in one.ends())))
                _serve(root, limits, layer, (orders, answers))
                status = 0
            finally:
                os._exit(status)  # nothing of what the reader has open or buffered is this process's
        _close((orders, answers))

    def ends(self) -> tuple[int, int]:
        """The reader's descriptors."""
        return self._orders, self._answers

    def send(self, generation: int, jobs: list[Job]) -> None:
        """Give it a batch; with another ``generation`` it has to look directories up again."""
        data = marshal.dumps((generation, jobs))
        try:
            _write_all(self._orders, _LENGTH.pack(len(data)) + data)
        except BrokenPipeError:
            raise _lost() from None
        self.waiting += 1

    def has_answered(self) -> bool:
        return bool(select.select([self._answers], [], [], 0)[0])

    def hear(self) -> None:
        """Wait for one answer, and raise what the process met."""
        answer = os.read(self._answers, 1)
        if not answer:
            raise _lost()
        self.waiting -= 1
        if answer != _DONE:
            number, message, hint = marshal.loads(_read_message(self._answers))
            if number:
                raise from_os_error("unpack", OSError(number, os.strerror(number)), message)
            raise UnpackError(message, hint)

    def end(self) -> None:
        _close(self.ends())
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            return  # whoever started us has it reaped already, as with SIGCHLD ignored


def _pipe(others: Iterable[int]) -> tuple[int, int]:
    """A pipe; where there can be none, ``others`` are closed and OSError is raised."""
    try:
        return os.pipe()
    except OSError:
        _close(others)
        raise


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _lost() -> StoreError:
    return StoreError("unpack: a process that wrote files was killed", "is there enough memory? try again")


def _serve(root: str, limits: Limits, layer: int, pipes: tuple[int, int]) -> None:
    """Do what is asked until nobody can ask any more."""
    orders, answers = pipes
    # Else it would finish a large file for nobody; who died before this call has closed the pipe.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    known = 0
    with RootTree(root, limits) as tree:
        while head := os.read(orders, _LENGTH.size):
            generation, jobs = marshal.loads(_read_message(orders, head))
            if generation != known:
                tree.forget()
                known = generation
            try:
                write_files(tree, layer, jobs)
                answer = _DONE
            except OSError as error:
                answer = _answer(error.errno or errno.EIO, os.fsdecode(error.filename or ""), "")
            except StoreError as error:
                answer = _answer(0, error.message, error.hint)
            _write_all(answers, answer)


def _answer(number: int, message: str, hint: str) -> bytes:
    data = marshal.dumps((number, message, hint))
    return b"\1" + _LENGTH.pack(len(data)) + data


def _read_message(fd: int, head: bytes = b"") -> bytes:
    head += _read_all(fd, _LENGTH.size - len(head))
    return _read_all(fd, _LENGTH.unpack(head)[0])


def _read_all(fd: int, size: int) -> bytes:
    parts = []
    while size > 0:
        part = os.read(fd, size)
        if not part:
            raise _lost()
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_files(tree: RootTree, layer: int, jobs: Sequence[Job]) -> None:
    """Write files whose data lies in the layer open as ``layer``; raises OSError naming them, UnpackError."""
    for directory, name, mode, mtime, owner, offset, size in jobs:
        try:
            fd = tree.directory(directory)
            try:
                out = new_file(name, mode, fd)
            except FileExistsError:
                os.unlink(name, dir_fd=fd)  # of a lower layer; the reader knows that it is no directory
                out = new_file(name, mode, fd)
            try:
                _copy(layer, offset, out, size)
                finish_file(out, mode, mtime, owner)
            finally:
                os.close(out)
        except OSError as error:
            path = shown(directory + b"/" + name if directory else name)
            raise OSError(error.errno, error.strerror, path) from error


def _copy(layer: int, offset: int, out: int, size: int) -> None:
    while size > 0:
        data = os.pread(layer, min(size, _BLOCK), offset)
        if not data:
            raise UnpackError("unpack: not a whole tar archive: it ends in the middle of a member")
        count = os.write(out, data)
        offset += count
        size -= count
