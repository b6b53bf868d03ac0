"""The server of a registry that fails on order: what it is asked, and how badly it answers."""

from __future__ import annotations

import signal
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Optional, Protocol

_CHUNKED: dict[bool, dict[str, str]] = {True: {"Transfer-Encoding": "chunked"}, False: {}}


@dataclass(frozen=True)
class Request:
    """One request as it came; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def line(self) -> str:
        """Method and path, what patterns are matched against."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Answer:
    """What goes back: ``cut`` bytes of the body, then the end of the connection, if ``cut`` is set.

    ``endless`` goes on with more bytes for as long as the client takes them; ``drip`` are the seconds between
    one byte and the next, of head and body or of the body alone.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: Optional[int] = None
    cut: Optional[int] = None
    delay: float = 0.0
    endless: bool = False
    chunked: bool = False
    drip: float = 0.0
    drip_head: bool = False
    reset: bool = False


class Answering(Protocol):
    """Who knows the answers; ``gone`` is set at the end, for those that are slow."""

    gone: threading.Event

    def answer(self, request: Request, received: bytes) -> Answer:
        """What to send for a request."""
        ...


class FaultyServer(ThreadingHTTPServer):
    daemon_threads = True
    registry: Answering

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are part of the tests."""


class FaultyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyServer

    def handle(self) -> None:
        # A command that runs in this process may let itself be ended by this signal; not for our clients.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        # The first byte of a TLS greeting; http.server would wait for the end of a line in it.
        plain = not isinstance(self.connection, ssl.SSLSocket)
        if plain and self.connection.recv(1, socket.MSG_PEEK) == b"\x16":
            return
        super().handle()

    def answer(self) -> None:
        received = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers)
        answer = self.server.registry.answer(request, received)
        time.sleep(answer.delay)
        partial = answer.cut is not None or answer.endless or answer.chunked or answer.drip > 0
        self.close_connection = partial or answer.status == 0 or (answer.length or 0) < 0
        if answer.status == 0:
            return
        self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def _send(self, answer: Answer) -> None:
        if answer.drip_head:
            return self._drip(b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 4000, answer.drip)
        self.send_response(answer.status)
        length = len(answer.body) if answer.length is None else answer.length
        if length >= 0:
            self.send_header("Content-Length", str(length))
        for name, value in {**answer.headers, **_CHUNKED[answer.chunked]}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        body = answer.body if answer.cut is None else answer.body[: answer.cut]
        if answer.drip:
            return self._drip(body, answer.drip)
        if answer.chunked:
            self.wfile.write(b"%x\r\n" % len(body) + body + b"\r\n")
            self.server.registry.gone.wait(60)
            return None
        self.wfile.write(body)
        while answer.endless:
            self.wfile.write(b"x" * 65536)
        if answer.reset:
            # No linger: closing sends RST in place of what is left (socket(7), SO_LINGER).
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return None

    def _drip(self, data: bytes, every: float) -> None:
        for byte in data:
            self.wfile.write(bytes([byte]))
            if self.server.registry.gone.wait(every):
                return

    def log_message(self, format: str, *args: object) -> None:
        """Requests are recorded, not logged."""
