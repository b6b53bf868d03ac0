"""Data compressed by bzip2 or xz, as docker load and udocker 1.3 take it beside gzip: rare, and slow."""

from __future__ import annotations

import importlib
from typing import Any, BinaryIO, Callable

_CHUNK = 1 << 18
# xz(1): what `xz -9` asks of who unpacks it, is 65 MiB; more is refused.
_XZ_MEMORY = 96 << 20


def open_bzip2(stream: BinaryIO) -> Decompressed:
    """The data that bzip2 compressed; reading raises EOFError where it is broken."""
    library = importlib.import_module("bz2")  # only who needs it pays for the import
    return Decompressed(stream, library.BZ2Decompressor, (OSError, ValueError))


def open_xz(stream: BinaryIO) -> Decompressed:
    """The data that xz compressed; reading raises EOFError where it is broken."""
    library = importlib.import_module("lzma")
    return Decompressed(stream, lambda: library.LZMADecompressor(memlimit=_XZ_MEMORY), (library.LZMAError,))


class Decompressed:
    """The plain data of a stream, which may be several compressed ones in a row."""

    def __init__(
        self, stream: BinaryIO, make: Callable[[], Any], broken: tuple[type[Exception], ...]
    ) -> None:
        self._stream = stream
        self._make = make
        self._broken = broken
        self._decoder = make()
        self._begun = False

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, none at the end."""
        while True:
            data = self._input()
            if not data and self._decoder.needs_input:
                if self._begun:
                    raise EOFError("it ends in the middle")
                return b""
            self._begun = True
            try:
                plain: bytes = self._decoder.decompress(data, size)
            except self._broken as error:
                raise EOFError(str(error)) from None
            if plain:
                return plain

    def _input(self) -> bytes:
        """What the decoder is to be given, a new one where a stream has ended; zeros may be between them."""
        if self._decoder.eof:
            data: bytes = self._decoder.unused_data.lstrip(b"\0")
            self._decoder, self._begun = self._make(), False
            if data:
                return data
        if not self._decoder.needs_input:
            return b""
        data = self._stream.read(_CHUNK)
        while data and not self._begun:
            stripped = data.lstrip(b"\0")
            if stripped:
                return stripped
            data = self._stream.read(_CHUNK)
        return data
