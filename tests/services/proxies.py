"""A SOCKS5 proxy (microsocks) and an HTTP proxy (tinyproxy), both of which ask for a password."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.needs import need_command
from tests.services.registry import free_port
from tests.services.sharing import session_directory
from tests.services.waiting import wait_until

USER, PASSWORD = "proxyuser", "proxy-secret"


@dataclass(frozen=True)
class Proxy:
    """A running proxy: ``host`` with its port, and what it said of those who used it."""

    host: str
    log: Path

    def url(self, scheme: str, password: str = PASSWORD) -> str:
        return f"{scheme}://{USER}:{password}@{self.host}"

    def used_for(self, port: int) -> bool:
        return f":{port}" in self.log.read_text(errors="replace")


@contextmanager
def socks_proxy() -> Iterator[Proxy]:
    """A SOCKS5 proxy on a free port of loopback."""
    program = need_command("microsocks", "microsocks")
    port = free_port("127.0.0.1")
    command = [program, "-i", "127.0.0.1", "-p", str(port), "-u", USER, "-P", PASSWORD]
    with session_directory("socks") as directory, _running(command, port, directory / "log") as proxy:
        yield proxy


@contextmanager
def http_proxy() -> Iterator[Proxy]:
    """An HTTP proxy, with CONNECT to any port, on a free port of loopback."""
    program = need_command("tinyproxy", "tinyproxy")
    port = free_port("127.0.0.1")
    with session_directory("tinyproxy") as directory:
        config = directory / "tinyproxy.conf"
        lines = [f"Port {port}", "Listen 127.0.0.1", f"BasicAuth {USER} {PASSWORD}", "LogLevel Connect"]
        config.write_text("\n".join([*lines, "Timeout 60", "MaxClients 50", ""]))
        with _running([program, "-d", "-c", str(config)], port, directory / "log") as proxy:
            yield proxy


@contextmanager
def _running(command: Sequence[str], port: int, log: Path) -> Iterator[Proxy]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(lambda: _listens(port), f"{command[0]} on port {port}")
        yield Proxy(f"127.0.0.1:{port}", log)
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
