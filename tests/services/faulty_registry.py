"""A registry on loopback that fails on order.

::

    with FaultyRegistry() as registry:
        registry.add(builder, "team/app", "1.0", image)
        registry.fail("GET .*/blobs/", cut(1000), times=2)
        ... pull f"{registry.host}/team/app:1.0" ...
        assert len(registry.asked("GET .*/blobs/")) == 3

It answers as the OCI distribution specification says; a fault is a function from that answer to another,
so that faults can be combined, and every request is written down.  What is pushed to it is kept, too.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Callable, Optional
from urllib.parse import parse_qs, urlsplit

from tests.services.faulty_server import Answer, FaultyHandler, FaultyServer, Request
from tests.services.images import Blob, ImageBuilder, digest_of

_ROUTE = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>manifests|blobs)/(?P<selector>[^/]+)")
_UPLOAD = re.compile(r"/v2/(?P<name>.+?)/blobs/uploads/(?P<id>[^/]*)")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


Fault = Callable[[Request, Answer], Answer]


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    """Another answer altogether; ``Retry_After="1"`` is the header Retry-After."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, answer: Answer(code, named, body)


def errors(code: int, name: str, message: str = "") -> Fault:
    """An error document, as registries send it."""
    document = {"errors": [{"code": name, "message": message}]}
    return status(code, json.dumps(document).encode(), Content_Type="application/json")


def cut(after: int) -> Fault:
    """The connection ends after this many bytes of the body."""
    return lambda request, answer: replace(answer, cut=after)


def cut_if_allowed(after: int) -> Fault:
    """``cut`` for an answer that has the content, and not for a refusal."""
    return lambda request, answer: replace(answer, cut=after if answer.status < 300 else None)


def body(data: bytes) -> Fault:
    """Another body, with the right Content-Length for it."""
    return lambda request, answer: replace(answer, body=data)


def more(data: bytes) -> Fault:
    """More bytes at the end; with ``without("Content-Length")`` nothing gives them away before."""
    return lambda request, answer: replace(answer, body=answer.body + data)


def content_length(number: int) -> Fault:
    """A Content-Length that is not the body's."""
    return lambda request, answer: replace(answer, length=number)


def header(name: str, value: str) -> Fault:
    """One header set to something else."""
    return lambda request, answer: replace(answer, headers={**answer.headers, name: value})


def without(name: str) -> Fault:
    """One header left out; without Content-Length the body ends with the connection."""

    def change(request: Request, answer: Answer) -> Answer:
        kept = {key: value for key, value in answer.headers.items() if key != name}
        return replace(answer, headers=kept, length=-1 if name == "Content-Length" else answer.length)

    return change


def redirect(url: str, code: int = 307) -> Fault:
    """Send the client to ``url``; ``{path}`` in it stands for the path of the request."""
    return lambda request, answer: Answer(code, {"Location": url.replace("{path}", request.path)})


def hang(seconds: float) -> Fault:
    """Answer late."""
    return lambda request, answer: replace(answer, delay=seconds)


def drop() -> Fault:
    """Close the connection without a word."""
    return lambda request, answer: replace(answer, status=0)


def reset(after: int = 0) -> Fault:
    """The connection is reset after this many bytes of the body."""
    return lambda request, answer: replace(answer, cut=after, reset=True)


def endless() -> Fault:
    """A body without an end, of no length that is told before."""
    return lambda request, answer: replace(answer, length=-1, endless=True)


def unfinished_chunks() -> Fault:
    """The body in chunks, without the last one that ends it; the connection stays open."""
    return lambda request, answer: replace(answer, length=-1, chunked=True)


def drip(every: float, head: bool = False) -> Fault:
    """A byte at a time, with so many seconds between them; the ``head`` as well, or the body alone."""
    return lambda request, answer: replace(answer, drip=every, drip_head=head)


@dataclass
class _Order:
    pattern: re.Pattern[str]
    fault: Fault
    times: Optional[int]


@dataclass
class _Hold:
    pattern: re.Pattern[str]
    wait: Callable[[Request], None]
    after: int


class FaultyRegistry:
    """A context manager; ``host`` is what goes in a reference, ``url`` what a browser would want.

    ``certificate`` is a file with a key and a certificate, for TLS.
    """

    def __init__(self, certificate: str = "") -> None:
        self.requests: list[Request] = []
        self.ranges = True
        self._contents: dict[tuple[str, str], Blob] = {}
        self._orders: list[_Order] = []
        self._holds: list[_Hold] = []
        self._lock = threading.Lock()
        self._basic = ""
        self._tokens: Optional[dict[str, int]] = None
        self._token_uses = 0
        self.challenge = ""
        self.gone = threading.Event()
        self._server = FaultyServer(("127.0.0.1", 0), FaultyHandler)
        self._server.registry = self
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._scheme = "https" if certificate else "http"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> FaultyRegistry:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.gone.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The base address."""
        return f"{self._scheme}://{self.host}"

    def add(self, builder: ImageBuilder, repository: str, tag: str, image: Blob) -> str:
        """Put an image, or an index with its images, here; returns its digest."""
        for part in builder.parts(image):
            self.put(repository, part.digest, part)
        self.put(repository, tag, image)
        return image.digest

    def put(self, repository: str, selector: str, blob: Blob) -> None:
        """Put one document or blob here under a tag or digest, right or wrong."""
        with self._lock:
            self._contents[repository, selector] = blob

    def content(self, repository: str, selector: str) -> Blob:
        """What is here under a tag or digest."""
        return self._contents[repository, selector]

    def fail(self, pattern: str, *faults: Fault, times: Optional[int] = None) -> None:
        """Apply faults, in their order, to the next ``times`` requests whose line matches (None: to all)."""
        for fault in faults:
            self._orders.append(_Order(re.compile(pattern), fault, times))

    def hold(self, pattern: str, wait: Callable[[Request], None], after: int = 0) -> None:
        """Call ``wait`` before a request that matches is answered, but for the first ``after`` ones."""
        self._holds.append(_Hold(re.compile(pattern), wait, after))

    def asked(self, pattern: str) -> list[Request]:
        """The requests whose line, as in ``GET /v2/…``, matches."""
        with self._lock:
            return [request for request in self.requests if re.match(pattern, request.line)]

    def require_basic(self, user: str, password: str) -> None:
        """Ask for a password by Basic authentication."""
        self._basic = _basic_header(user, password)
        self.challenge = 'Basic realm="test, registry"'

    def require_tokens(
        self, user: str = "", password: str = "", uses: int = 1 << 30, realm: str = ""
    ) -> None:
        """Ask for tokens, each good for ``uses`` requests; for anybody, or for this user alone."""
        self._basic = _basic_header(user, password) if user else ""
        self._tokens, self._token_uses = {}, uses
        self.challenge = f'Bearer realm="{realm or self.url + "/token"}",service="test"'

    def answer(self, request: Request, received: bytes) -> Answer:
        """What to send for a request, faults applied; for the server's threads."""
        for hold in self._held(request):
            hold.wait(request)
        with self._lock:
            answer = self._right(request, received)
            for order in self._orders:
                if order.times != 0 and order.pattern.match(request.line):
                    order.times = None if order.times is None else order.times - 1
                    answer = order.fault(request, answer)
        return answer

    def _held(self, request: Request) -> list[_Hold]:
        with self._lock:
            self.requests.append(request)
            found = [hold for hold in self._holds if hold.pattern.match(request.line)]
            for hold in found:
                hold.after -= 1
            return [hold for hold in found if hold.after < 0]

    def _right(self, request: Request, received: bytes) -> Answer:
        path = urlsplit(request.path).path
        if path == "/token":
            return self._give_token(request)
        if not self._allowed(request):
            scope = _scope(path) if self._tokens is not None else ""
            document = b'{"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}'
            return Answer(401, {"WWW-Authenticate": self.challenge + scope}, document)
        if path == "/v2/":
            return Answer(200, {"Content-Type": "application/json"}, b"{}")
        if request.method in ("POST", "PUT"):
            return self._pushed(request, received)
        return self._content(request, path)

    def _content(self, request: Request, path: str) -> Answer:
        route = _ROUTE.fullmatch(path)
        if route is None:
            return Answer(404)
        blob = self._contents.get((route["name"], route["selector"]))
        if blob is None:
            known = any(name == route["name"] for name, _ in self._contents)
            code = f"{route['kind'][:-1].upper()}_UNKNOWN" if known else "NAME_UNKNOWN"
            document = {"errors": [{"code": code, "message": f"{code.lower()} (test registry)"}]}
            return Answer(404, {"Content-Type": "application/json"}, json.dumps(document).encode())
        kind = blob.media_type if route["kind"] == "manifests" else "application/octet-stream"
        headers = {"Content-Type": kind, "Docker-Content-Digest": blob.digest}
        wanted = _RANGE.fullmatch(request.headers.get("range", ""))
        if wanted is None or not self.ranges or route["kind"] != "blobs":
            return Answer(200, headers, blob.data)
        first, size = int(wanted[1]), len(blob.data)
        if first >= size:
            return Answer(416, {"Content-Range": f"bytes */{size}"})
        return Answer(
            206, {**headers, "Content-Range": f"bytes {first}-{size - 1}/{size}"}, blob.data[first:]
        )

    def _allowed(self, request: Request) -> bool:
        sent = request.headers.get("authorization", "")
        if self._tokens is None:
            return sent == self._basic
        token = sent.partition("Bearer ")[2]
        if self._tokens.get(token, 0) <= 0:
            return False
        self._tokens[token] -= 1
        return True

    def _give_token(self, request: Request) -> Answer:
        if self._basic and request.headers.get("authorization") != self._basic:
            return Answer(401, {}, b'{"details": "incorrect username or password"}')
        tokens = self._tokens if self._tokens is not None else {}
        token = f"token-{len(tokens)}"
        tokens[token] = self._token_uses
        document = {"token": token, "expires_in": 60}
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _pushed(self, request: Request, received: bytes) -> Answer:
        parts = urlsplit(request.path)
        upload, route = _UPLOAD.fullmatch(parts.path), _ROUTE.fullmatch(parts.path)
        if upload is not None and request.method == "POST":
            return Answer(202, {"Location": f"/v2/{upload['name']}/blobs/uploads/1?state=x"})
        if upload is not None:
            digest = parse_qs(parts.query)["digest"][0]
            self._contents[upload["name"], digest] = Blob("application/octet-stream", received)
            return Answer(201 if digest == digest_of(received) else 400)
        if route is None:
            return Answer(404)
        kind = request.headers.get("content-type", "")
        self._contents[route["name"], route["selector"]] = Blob(kind, received)
        return Answer(201)


def _basic_header(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _scope(path: str) -> str:
    route = _ROUTE.fullmatch(path)
    return f',scope="repository:{route["name"]}:pull,push"' if route else ""
