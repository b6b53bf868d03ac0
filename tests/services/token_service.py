"""A token service for docker-registry, after its "Token Authentication Specification".

A token is a JWT, signed by a key whose certificate the registry has.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.services.needs import need_command

ISSUER, SERVICE = "udocker tests", "test registry"


@dataclass
class TokenService:
    """Gives ``user`` every token that is asked for, and others none; ``asked`` are the scopes."""

    directory: Path
    user: str
    password: str
    url: str = ""
    asked: list[list[str]] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, Any]:
        """The registry's settings for it."""
        bundle = str(self.directory / "token.pem")
        realm = f"{self.url}/token"
        return {"token": {"realm": realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": bundle}}

    def make_key(self) -> None:
        """Make what tokens are signed with."""
        command = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=token"]
        command += ["-keyout", str(self.directory / "token.key"), "-out", str(self.directory / "token.pem")]
        subprocess.run([need_command("openssl", "openssl"), *command], check=True, capture_output=True)

    def token(self, scopes: list[str]) -> str:
        """A signed token for ``repository:NAME:ACTIONS`` and the like."""
        self.asked.append(scopes)
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        der = base64.b64encode(self._der()).decode()
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": self.user,
            "aud": SERVICE,
            "access": access,
            "jti": str(len(self.asked)),
        }
        claims.update(exp=now + 60, nbf=now - 60, iat=now)
        signed = f"{_part({'typ': 'JWT', 'alg': 'RS256', 'x5c': [der]})}.{_part(claims)}"
        key = str(self.directory / "token.key")
        command = [need_command("openssl", "openssl"), "dgst", "-sha256", "-sign", key]
        signature = subprocess.run(command, input=signed.encode(), check=True, capture_output=True).stdout
        return f"{signed}.{_encoded(signature)}"

    def _der(self) -> bytes:
        lines = (self.directory / "token.pem").read_text().splitlines()
        return base64.b64decode("".join(line for line in lines if "-----" not in line))


@contextmanager
def token_service(directory: Path, user: str, password: str) -> Iterator[TokenService]:
    """The service on a free port of loopback."""
    service = TokenService(directory, user, password)
    service.make_key()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
            allowed = self.headers.get("Authorization") == wanted
            scopes = " ".join(parse_qs(urlsplit(self.path).query).get("scope", [])).split()
            body = json.dumps(
                {"token": service.token(scopes)} if allowed else {"details": "go away"}
            ).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: what is asked is recorded."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _part(document: Any) -> str:
    return _encoded(json.dumps(document).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
