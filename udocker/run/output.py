"""What a program in the background prints: kept line by line with its time, in a bounded space.

One line of the file is ``TIME STREAM P|F TEXT``, as Kubernetes' runtimes log: P where the program had not
ended its line yet.  When the file has reached half of the space it becomes the one before, so that between
half of it and all of it is there to be read.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable, Optional

from udocker.values import dataclass

_PART, _FULL = b"P", b"F"
# Longer lines are kept in parts of this many bytes.
_LINE = 1 << 16
_PAUSE = 0.1


@dataclass(frozen=True)
class Piece:
    """A line, or the part of one: when it came, from which stream, and whether the line ends with it."""

    when: bytes
    stream: bytes
    ends: bool
    text: bytes


class OutputWriter:
    """Writes down what comes of a program, for ``size`` bytes in all.

    What cannot be written, as on a full disk, is counted and told later, as a line of the file: the program
    goes on as it would with a terminal that nobody looks at.
    """

    def __init__(self, path: Path, before: Path, size: int) -> None:
        self._path, self._before, self._half = path, before, max(1, size // 2)
        self._lost = 0
        self._open()

    def _open(self) -> None:
        # Where a group shares the store another one may have put a link there.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)

    def write(self, stream: str, data: bytes) -> None:
        """Keep what has come of a stream, "stdout" or "stderr"."""
        lines = b"".join(_lines(stream.encode(), data))
        try:
            if self._lost:
                told = b"udocker: %d bytes of output could not be kept\n" % self._lost
                lines = b"".join(_lines(b"stderr", told)) + lines
            self._put(lines)
            self._lost = 0
        except OSError:
            self._lost += len(data)

    def _put(self, lines: bytes) -> None:
        if os.fstat(self._file).st_size >= self._half:
            os.rename(self._path, self._before)
            os.close(self._file)
            self._open()
        while lines:
            lines = lines[os.write(self._file, lines) :]

    def close(self) -> None:
        """Nothing more comes."""
        os.close(self._file)


def _lines(stream: bytes, data: bytes) -> Iterator[bytes]:
    seconds, rest = divmod(time.time_ns(), 10**9)
    moment = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    head = b"%s.%09dZ %s" % (moment.encode(), rest, stream)
    for line in _split(data):
        ends = line.endswith(b"\n")
        text = line[:-1] if ends else line
        for start in range(0, max(1, len(text)), _LINE):
            last = start + _LINE >= len(text)
            kind = _FULL if ends and last else _PART
            yield b"%s %s %s\n" % (head, kind, text[start : start + _LINE])


def _split(data: bytes) -> list[bytes]:
    """Lines that end in a line feed alone: a carriage return is part of what is shown."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def read(
    path: Path, before: Path, tail: Optional[int], since: bytes, lives: Optional[Callable[[], bool]] = None
) -> Iterator[Piece]:
    """What was kept: the last ``tail`` lines of it, from the time ``since`` on.

    With ``lives`` also what comes from now on, until the run lives no longer.
    """
    follower = _Follower(path, before)
    pieces = (piece for piece in follower.there() if piece.when >= since)
    yield from pieces if tail is None else _last(pieces, tail)
    if lives is None:
        return
    alive = True
    while alive:
        alive = lives()  # asked before reading: what was written until it ended is read still
        yield from (piece for piece in follower.more() if piece.when >= since)
        if alive:
            time.sleep(_PAUSE)


def _last(pieces: Iterator[Piece], count: int) -> Iterator[Piece]:
    """The last lines; one that has not ended counts as well."""
    lines: deque[list[Piece]] = deque(maxlen=count)
    is_open = False
    for piece in pieces:
        if not (is_open and lines):
            lines.append([])
        if lines:
            lines[-1].append(piece)
        is_open = not piece.ends
    for line in lines:
        yield from line


class _Follower:
    """Reads the file before and the file, and goes on where it stopped, although they take turns."""

    def __init__(self, path: Path, before: Path) -> None:
        self._path, self._before = path, before
        self._file = -1
        self._rest = b""

    def there(self) -> Iterator[Piece]:
        """All that there is."""
        try:
            yield from _pieces(self._before.read_bytes().split(b"\n"))
        except FileNotFoundError:
            pass  # it has not printed so much yet
        yield from self.more()

    def more(self) -> Iterator[Piece]:
        """What has come since."""
        if self._file >= 0:
            yield from self._drain()
            if self._is_current():
                return
            os.close(self._file)
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._file = -1  # between two files, or removed with its container
            return
        yield from self._drain()

    def _drain(self) -> Iterator[Piece]:
        while block := os.read(self._file, 1 << 20):
            *lines, self._rest = (self._rest + block).split(b"\n")
            yield from _pieces(lines)

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), os.stat(self._path))
        except FileNotFoundError:
            return False


def _pieces(lines: list[bytes]) -> Iterator[Piece]:
    for line in lines:
        parts = line.split(b" ", 3)
        if len(parts) == 4:  # the rest of a line that was cut short by a crash says nothing
            yield Piece(parts[0], parts[1], parts[2] == _FULL, parts[3])
