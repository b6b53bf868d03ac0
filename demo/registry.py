"""A small read-only registry: one repository, from a directory in OCI image layout.

Enough of the OCI distribution protocol for pulls; no TLS and no passwords, so it is for demonstrations.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Optional

_MANIFEST = re.compile(r"/v2/(?P<repository>[a-z0-9/._-]+)/manifests/(?P<selector>[\w.:-]+)", re.ASCII)
_BLOB = re.compile(r"/v2/(?P<repository>[a-z0-9/._-]+)/blobs/(?P<selector>[\w:]+)", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# The first byte of a client that greets by TLS (RFC 8446, section 5.1): handshake.
_TLS_HANDSHAKE = b"\x16"


class LayoutRegistry:
    """Serves ``layout`` as ``repository`` while its context lasts; ``host`` is its address and port.

    Requests are written to ``log``.
    """

    def __init__(self, layout: Path, repository: str, log: Path, address: str = "127.0.0.1") -> None:
        self.repository = repository
        self._layout = layout
        self._log = log
        self._lock = threading.Lock()
        self._server = _Server((address, 0), _Handler)
        self._server.registry = self
        self.host = f"{address}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> LayoutRegistry:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def digest(self, selector: str) -> Optional[str]:
        """The digest that a tag or digest names, or None."""
        if _DIGEST.fullmatch(selector):
            return selector if self.path(selector).is_file() else None
        index = json.loads((self._layout / "index.json").read_bytes())
        for entry in index["manifests"]:
            if entry["annotations"]["org.opencontainers.image.ref.name"] == selector:
                return str(entry["digest"])
        return None

    def path(self, digest: str) -> Path:
        """Where a blob lies."""
        return self._layout / "blobs" / "sha256" / digest.partition(":")[2]

    def write_log(self, line: str) -> None:
        """Add a line to the log."""
        with self._lock, self._log.open("a", encoding="utf-8") as log:
            log.write(line + "\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    registry: LayoutRegistry

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is none of the demo's business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle(self) -> None:
        # Clients try TLS first; http.server would wait for the end of a line in their greeting.
        if self.rfile.peek(1)[:1] != _TLS_HANDSHAKE:  # type: ignore[attr-defined]
            super().handle()

    def do_GET(self) -> None:
        manifest, blob = _MANIFEST.fullmatch(self.path), _BLOB.fullmatch(self.path)
        found = manifest or blob
        if self.path == "/v2/":
            self._send_document(200, {}, "application/json")
        elif found is None or found["repository"] != self.server.registry.repository:
            self._send_error("NAME_UNKNOWN", "repository name not known to registry")
        elif (digest := self.server.registry.digest(found["selector"])) is None:
            kind = "MANIFEST" if manifest else "BLOB"
            self._send_error(f"{kind}_UNKNOWN", f"{kind.lower()} unknown")
        else:
            self._send_file(digest, manifest is not None)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Called for every request, with its line and the status."""
        self.server.registry.write_log(
            f"{self.log_date_time_string()} {self.address_string()} {format % args}"
        )

    def _send_file(self, digest: str, manifest: bool) -> None:
        path = self.server.registry.path(digest)
        kind = json.loads(path.read_bytes())["mediaType"] if manifest else "application/octet-stream"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.send_header("Docker-Content-Digest", digest)
        self.end_headers()
        if self.command != "HEAD":
            with path.open("rb") as file:
                shutil.copyfileobj(file, self.wfile)

    def _send_error(self, code: str, message: str) -> None:
        self._send_document(404, {"errors": [{"code": code, "message": message}]}, "application/json")

    def _send_document(self, status: int, document: dict[str, object], kind: str) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
