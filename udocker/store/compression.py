"""Layers as plain tar streams, whatever compressed them, decompressed ahead in a thread."""

from __future__ import annotations

import gzip
import importlib
import io
import os
import queue
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Callable, Optional, Union, cast

import zstandard

from udocker.errors import UnpackError
from udocker.store.limits import Limits
from udocker.store.rarer import open_bzip2, open_xz

try:
    _igzip: Any = importlib.import_module("isal.igzip")
    _gzip_error: Any = importlib.import_module("isal.isal_zlib").error
except ImportError:  # no build of it for this machine: the standard library's is slower, not different
    _igzip, _gzip_error = None, zlib.error

_CHUNK = 1 << 20
_AHEAD = 4
_PLAIN_CHUNK = 1 << 16
_MAGIC = 4
# What `zstd --ultra -22 --long=27` makes; more is refused, as zstd itself refuses it without being told to.
_MAX_WINDOW = 1 << 27

# What broken compressed data makes the libraries raise.
_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, _gzip_error, zstandard.ZstdError)


def _open_gzip(stream: BinaryIO) -> Any:
    return (_igzip.IGzipFile if _igzip is not None else gzip.GzipFile)(fileobj=stream, mode="rb")


def _open_zstd(stream: BinaryIO) -> Any:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    return decompressor.stream_reader(stream, read_across_frames=True)


# First bytes of a compressed stream, and what opens it.  The media type is not asked: it is often wrong.
_FORMATS: tuple[tuple[bytes, Callable[[BinaryIO], Any]], ...] = (
    (b"\x1f\x8b", _open_gzip),
    (b"\x28\xb5\x2f\xfd", _open_zstd),
    (b"\xfd7zX", open_xz),
    (b"BZh", open_bzip2),
)


@contextmanager
def open_layer(path: Path, limits: Optional[Limits] = None) -> Iterator[ReadAhead]:
    """Open a layer's blob as a tar stream.

    Reading raises UnpackError where the compressed data is broken, or beyond the limits that are given.
    """
    with path.open("rb", buffering=0) as stream:
        try:
            magic = os.pread(stream.fileno(), _MAGIC, 0)
        except OSError as error:
            error.filename = str(path)
            raise
        with _opened(magic, cast(BinaryIO, stream), limits, str(path)) as reader:
            yield reader


@contextmanager
def open_stream(stream: BinaryIO, limits: Optional[Limits] = None) -> Iterator[ReadAhead]:
    """The same for an open stream, which may be a pipe; it stays open."""
    magic = stream.read(_MAGIC)
    rejoined = cast(BinaryIO, io.BufferedReader(_Rejoined(magic, stream), _CHUNK))
    with _opened(magic, rejoined, limits) as reader:
        yield reader


@contextmanager
def _opened(magic: bytes, stream: BinaryIO, limits: Optional[Limits], name: str = "") -> Iterator[ReadAhead]:
    opener = next((opener for prefix, opener in _FORMATS if magic.startswith(prefix)), None)
    if opener is None:
        reader = ReadAhead(stream.read, name)
    else:
        reader = ReadAhead(_Checked(opener, stream, limits).read, name)
    try:
        yield reader
    finally:
        reader.close()


class _Checked:
    """Decompressed data, counted against the compressed."""

    def __init__(self, opener: Callable[[BinaryIO], Any], stream: BinaryIO, limits: Optional[Limits]) -> None:
        self._compressed = _Counted(stream)
        self._plain = opener(cast(BinaryIO, self._compressed))
        self._limits = limits
        self._count = 0

    def read(self, size: int) -> bytes:
        data: bytes = self._plain.read(size)
        self._count += len(data)
        if self._limits is not None:
            self._limits.check_ratio(self._compressed.count, self._count)
        return data


class _Counted(io.RawIOBase):
    """A stream that knows how much was read of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class PlainFile:
    """An uncompressed layer, of which only what is wanted is read."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._at = 0
        self._size = os.fstat(fd).st_size

    @classmethod
    def is_plain(cls, fd: int) -> bool:
        """Whether an open layer is not compressed."""
        magic = os.pread(fd, _MAGIC, 0)
        return not any(magic.startswith(prefix) for prefix, _ in _FORMATS)

    def chunk(self) -> bytes:
        """The next bytes, none at the end."""
        data = os.pread(self.fd, _PLAIN_CHUNK, self._at)
        self._at += len(data)
        return data

    def skip(self, size: int) -> int:
        """Leave out up to ``size`` bytes that there are; returns how many."""
        passed = min(size, self._size - self._at)
        self._at += passed
        return passed


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were looked at and can still be read."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or self._stream.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


class ReadAhead:
    """A readable stream whose data comes from a thread, some MiB ahead of the reader.

    Decompression releases the interpreter's lock, so it runs beside the unpacking.
    """

    def __init__(self, read: Callable[[int], bytes], name: str = "") -> None:
        self._source = read
        self._name = name
        self._queue: queue.Queue[Union[bytes, Exception]] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._rest = b""
        self._at = 0
        self._thread = threading.Thread(target=self._fill, daemon=True)
        self._thread.start()

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, fewer at the end only; not to be mixed with ``chunk``."""
        if len(self._rest) - self._at >= size:
            self._at += size
            return self._rest[self._at - size : self._at]
        parts = [self._rest[self._at :]]
        missing = size - len(parts[0])
        self._rest, self._at = b"", 0
        while missing > 0:
            chunk = self.chunk()
            if not chunk:
                break
            parts.append(chunk[:missing])
            if len(chunk) > missing:
                self._rest, self._at = chunk, missing
            missing -= len(parts[-1])
        return b"".join(parts)

    def skip(self, size: int) -> int:
        """Nothing can be left out of what is decompressed."""
        return 0

    def close(self) -> None:
        """Stop the thread."""
        self._closed.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue

    def chunk(self) -> bytes:
        """The next piece of any length, none at the end."""
        item = self._queue.get()
        if isinstance(item, bytes) and item:
            return item
        self._queue.put(item)  # the end and an error stay
        if isinstance(item, _BROKEN):
            raise UnpackError(f"unpack: compressed data: {item}") from item
        if isinstance(item, Exception):
            raise item
        return b""

    def _fill(self) -> None:
        item: Union[bytes, Exception] = b"first"
        while not self._closed.is_set() and isinstance(item, bytes) and item:
            try:
                item = self._source(_CHUNK)
            except Exception as error:  # noqa: BLE001 - handed to the reader's thread, which raises it
                if isinstance(error, OSError) and error.errno and self._name:
                    error.filename = self._name  # calls on an open descriptor don't tell
                item = error
            self._queue.put(item)
