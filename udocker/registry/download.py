"""One blob into one file: resumed where it broke off, verified before it counts."""

from __future__ import annotations

import os
import re
from contextlib import closing
from typing import BinaryIO, Callable, Optional

import requests

from udocker.errors import RegistryError
from udocker.model.manifest import Descriptor
from udocker.registry.transport import Transport
from udocker.registry.words import printable

# What does not come within the time of one answer makes a connection count as broken.
_CHUNK = 64 << 10
# A connection that brought this much was worth it: the count of tries begins anew.
_PROGRESS = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")

OpenBlob = Callable[[dict[str, str]], requests.Response]


class Received:
    """Adds up what has come of a blob, so that the next place it is asked of can begin again."""

    def __init__(self, on_bytes: Optional[Callable[[int], None]]) -> None:
        self._on_bytes = on_bytes
        self._count = 0

    def add(self, count: int) -> None:
        """So many bytes have come, or are lost where ``count`` is negative."""
        self._count += count
        if self._on_bytes is not None and count:
            self._on_bytes(count)

    def forget(self) -> None:
        """Nothing has come yet."""
        self.add(-self._count)


class Download:
    """Brings ``descriptor``'s bytes into ``file``, which may hold a beginning of them already.

    ``file`` is open for reading and writing, in binary mode, and seekable.  ``open_blob`` sends the
    request with the headers it is given.  ``on_bytes`` is called with the number of bytes that have come;
    it is negative when the download starts again.
    """

    def __init__(
        self,
        transport: Transport,
        open_blob: OpenBlob,
        descriptor: Descriptor,
        file: BinaryIO,
        on_bytes: Optional[Callable[[int], None]] = None,
    ) -> None:
        self._transport = transport
        self._open = open_blob
        self._descriptor = descriptor
        self._file = file
        self._on_bytes = on_bytes
        self._hash = descriptor.digest.hasher()
        self._position = 0
        self._ranges = True

    def run(self) -> None:
        """Fetch and verify.

        Raises RegistryError, and OSError where the file cannot be written.  A file that is complete and
        wrong is emptied, so that nobody takes it for the blob; an incomplete one stays, to be resumed.
        """
        self._take_over()
        self._complete()
        if self._is_right():
            return
        # The beginning that was there before may have been at fault, or a cache in between: once more.
        self._restart()
        self._complete()
        if self._is_right():
            return
        actual = f"{self._descriptor.digest.algorithm}:{self._hash.hexdigest()}"
        self._restart()
        raise self._transport.error(
            f"blob {self._descriptor.digest}: the registry sent other content twice, of digest {actual}",
            "the image must be pushed again, or a cache in between is broken",
        )

    def _is_right(self) -> bool:
        self._file.flush()
        return self._hash.hexdigest() == self._descriptor.digest.hex

    def _take_over(self) -> None:
        """Hash what the file holds; start anew if that is more than the blob."""
        self._file.seek(0, os.SEEK_END)
        if self._file.tell() > self._descriptor.size:
            self._restart()
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            self._hash.update(chunk)
            self._advance(len(chunk))

    def _restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._hash = self._descriptor.digest.hasher()
        self._advance(-self._position)

    def _complete(self) -> None:
        """Connect until the file has as many bytes as the blob."""
        attempt = 0
        reached = self._position
        while self._position < self._descriptor.size:
            failure = self._connect()
            if self._position >= self._descriptor.size:
                return
            if self._position - reached >= _PROGRESS:
                attempt, reached = 0, self._position
            if attempt >= self._transport.retries:
                raise failure
            self._transport.pause(attempt, failure)
            attempt += 1

    def _connect(self) -> RegistryError:
        """Take what one request brings; returns why it brought no more, for the case that more is wanted."""
        headers = {}
        if self._position and self._ranges:
            headers["Range"] = f"bytes={self._position}-"
        with closing(self._open(headers)) as response:
            if response.status_code == 200:
                if self._position:
                    self._restart()
            elif response.status_code in (206, 416) and headers:
                if response.status_code == 416 or not self._continues(response):
                    # The registry has another idea of this blob's length; all of it will show who is right.
                    self._ranges = False
                    self._restart()
                    return self._error(f"the registry cannot resume at byte {headers['Range'][6:-1]}")
            else:
                raise self._transport.refused("GET", response)
            self._refuse_excess(response)
            return self._receive(response)

    def _continues(self, response: requests.Response) -> bool:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != self._position:
            return False
        return match[3] == "*" or int(match[3]) == self._descriptor.size

    def _refuse_excess(self, response: requests.Response) -> None:
        declared = response.headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared[:19]) > self._descriptor.size - self._position:
            self._too_long()

    def _receive(self, response: requests.Response) -> RegistryError:
        while True:
            # At last one byte more than is wanted, to notice a registry that sends too much.
            wanted = min(_CHUNK, self._descriptor.size - self._position) or 1
            try:
                chunk = self._transport.receive(response, wanted)
            except RegistryError as failure:
                return failure
            if not chunk:
                have = f"{self._position} of {self._descriptor.size}"
                return self._error(f"the registry stopped after {have} bytes")
            if self._position + len(chunk) > self._descriptor.size:
                self._too_long()
            self._file.write(chunk)
            self._hash.update(chunk)
            self._advance(len(chunk))

    def _too_long(self) -> None:
        self._restart()
        raise self._transport.error(
            f"blob {self._descriptor.digest}: the registry sends more than the {self._descriptor.size} bytes "
            f"that the manifest says",
            "the image must be pushed again, or a cache in between is broken",
        )

    def _error(self, cause: str) -> RegistryError:
        kind = printable(self._descriptor.media_type, 80)
        return self._transport.error(f"blob {self._descriptor.digest} ({kind}): {cause}", temporary=True)

    def _advance(self, count: int) -> None:
        self._position += count
        if self._on_bytes is not None and count:
            self._on_bytes(count)
