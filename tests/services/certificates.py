"""Certificates of an authority that no machine trusts, made by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.services.needs import need_command

# A name of this machine's loopback that does not look like one (inet_aton(3)): programs that treat loopback
# as a friend treat it as any other host.
HOST = "127.1"
_EXTENSIONS = f"subjectAltName=DNS:{HOST},IP:127.0.0.1"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files in PEM."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates into files of ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._openssl = need_command("openssl", "openssl")
        self.pair = self._request("ca", "-x509", "-days", "2")

    def sign(self, name: str) -> Pair:
        """A certificate for servers at HOST and for clients."""
        pair = self._request(name)
        extensions = self._directory / "extensions"
        extensions.write_text(_EXTENSIONS)
        signed = self._directory / f"{name}.crt"
        self._run(
            *("x509", "-req", "-days", "2", "-in", pair.certificate, "-out", signed, "-extfile", extensions),
            *("-CA", self.pair.certificate, "-CAkey", self.pair.key, "-CAcreateserial"),
        )
        return Pair(signed, pair.key)

    def _request(self, name: str, *options: str) -> Pair:
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        self._run(
            *("req", "-new", *curve, "-subj", f"/CN={name}", *options),
            *("-keyout", pair.key, "-out", pair.certificate),
        )
        pair.key.chmod(0o644)
        return pair

    def _run(self, *arguments: object) -> None:
        subprocess.run([self._openssl, *map(str, arguments)], check=True, capture_output=True)
