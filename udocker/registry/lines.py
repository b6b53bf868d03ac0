"""The connections of one client: a session for each thread, and an end to those that stand still.

A server that sends a byte now and then outlives every timeout of a socket, which counts from the last byte.
So a thread sets a limit for each step, and a watcher shuts down the sockets of a thread that is late; what
the thread was reading then ends.  Whoever wants all threads to stop cuts the sockets in the same way.
"""

from __future__ import annotations

import signal
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Callable, Optional

import requests
from requests.adapters import HTTPAdapter

_USER_AGENT = "udocker-batch"
_LOOK_EVERY = 1.0  # seconds, at most


class Lines:
    """The sessions of all threads; ``context`` is asked for once, when a certificate is to be verified."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._make_context = context
        self._context: Optional[ssl.SSLContext] = None
        self._here = threading.local()
        self._lines: list[Line] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._watcher: Optional[threading.Thread] = None
        self.is_cut = False

    def here(self) -> Line:
        """The calling thread's line."""
        line: Optional[Line] = getattr(self._here, "line", None)
        if line is None:
            line = self._here.line = Line(self)
            with self._lock:
                self._lines.append(line)
        return line

    def context(self) -> ssl.SSLContext:
        """The context for connections that are verified."""
        with self._lock:
            if self._context is None:
                self._context = self._make_context()
            return self._context

    def cut(self) -> None:
        """End what every thread reads or sends; nothing is to be sent from now on."""
        self.is_cut = True
        for line in list(self._lines):
            line.shut()

    def close(self) -> None:
        """Close every connection."""
        self._closed.set()
        for line in list(self._lines):
            line.close()

    def watch(self, limit: float) -> None:
        """Have somebody look after the lines, who notices a limit of ``limit`` seconds in time."""
        with self._lock:
            if self._watcher is None:
                every = min(_LOOK_EVERY, limit / 4)
                self._watcher = threading.Thread(
                    target=_look, args=(weakref.ref(self), self._closed, every), daemon=True
                )
                self._watcher.start()

    def shut_late(self) -> None:
        """Shut down the sockets of threads that are beyond their limit."""
        now = time.monotonic()
        for line in list(self._lines):
            if now > line.until:
                line.is_late = True
                line.shut()


def _look(lines: weakref.ref[Lines], closed: threading.Event, every: float) -> None:
    while not closed.wait(every):
        found = lines()
        if found is None:
            return  # nobody can use them any more
        found.shut_late()
        del found


class Line:
    """One thread's sessions: one that verifies certificates, and one that does not."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._sessions: dict[bool, requests.Session] = {}
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self.until = float("inf")
        self.is_late = False

    def session(self, verified: bool) -> requests.Session:
        """The session whose certificates are ``verified``, or not."""
        if verified not in self._sessions:
            context = self._lines.context() if verified else None
            self._sessions[verified] = _session(_Adapter(self, context))
        return self._sessions[verified]

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """A step that is given up after so many seconds; ``is_late`` then says that it was."""
        self._lines.watch(seconds)
        self.is_late = False
        self.until = time.monotonic() + seconds
        try:
            with _no_broken_pipe():
                yield
        finally:
            self.until = float("inf")

    def add(self, sock: Optional[socket.socket]) -> None:
        """A connection has been made."""
        if sock is None:
            return
        with self._lock:
            self._sockets.add(sock)
        if self._lines.is_cut:
            self.shut()

    def shut(self) -> None:
        """Wake up whoever waits for the line's sockets."""
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            try:
                # Not SSLSocket's own, which takes the TLS object from under the thread that uses it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                continue  # closed already

    def close(self) -> None:
        """Close the connections."""
        for session in self._sessions.values():
            session.close()


@contextmanager
def _no_broken_pipe() -> Iterator[None]:
    """A server that has gone away is an error here, although the program may be one that SIGPIPE ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        yield
    finally:
        if signal.SIGPIPE not in before:
            # One that came meanwhile was sent to this thread (pipe(7)): taken off before it is let in.
            signal.sigtimedwait({signal.SIGPIPE}, 0)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Adapter(HTTPAdapter):
    """Makes connections that their line knows, with its TLS context."""

    def __init__(self, line: Line, context: Optional[ssl.SSLContext]) -> None:
        self._line = line
        self._extra: dict[str, Any] = {} if context is None else {"ssl_context": context}
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        """As requests does, with our context and connections."""
        super().init_poolmanager(connections, maxsize, block, **{**self._extra, **options})
        self._watch(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:
        """As requests does, with our context and connections."""
        if proxy in self.proxy_manager:
            return self.proxy_manager[proxy]
        manager = super().proxy_manager_for(proxy, **self._extra, **options)
        self._watch(manager)
        return manager

    def _watch(self, manager: Any) -> None:
        classes = manager.pool_classes_by_scheme
        manager.pool_classes_by_scheme = {name: _watched(kind, self._line) for name, kind in classes.items()}


def _watched(pool: Any, line: Line) -> Any:
    """The class of pools ``pool``, whose connections tell ``line`` of their sockets."""

    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        def connect(self) -> None:
            super().connect()
            line.add(self.sock)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


class _Session(requests.Session):
    """A session that leaves redirects to Transport, which bounds them."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: even when told not to follow, requests reads all of a redirect's body, and its address."""


def _session(adapter: HTTPAdapter) -> requests.Session:
    session = _Session()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.headers.update({"User-Agent": _USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"})
    # Without an auth object requests takes credentials from netrc, over an Authorization header of ours.
    session.auth = _keep_headers
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
