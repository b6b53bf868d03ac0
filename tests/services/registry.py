"""Debian's docker-registry, and what it was asked."""

from __future__ import annotations

import itertools
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional
from urllib.error import HTTPError, URLError

from tests.services.needs import is_root, need_command
from tests.services.sharing import session_directory
from tests.services.waiting import wait_until

# Apache's "combined" format, which docker-registry writes to its standard output.
LOG_LINE = re.compile(
    r'^\S+ \S+ \S+ \[[^]]*\] "(?P<method>\S+) (?P<path>\S+) [^"]*" (?P<status>\d+) (?P<size>\d+)'
)
BARRIER = "/v2/?barrier="


@dataclass(frozen=True)
class Request:
    """One answered request: ``path`` with its query, ``size`` of the answer in bytes."""

    method: str
    path: str
    status: int
    size: int


class Registry:
    """A running registry; it accepts pushes, deletions and everybody."""

    def __init__(self, host: str, access_log: Path, scheme: str = "http") -> None:
        self.host = host
        self.url = f"{scheme}://{host}"
        self._access_log = access_log
        self._seen = 0
        self._barriers = itertools.count()

    def requests(self) -> list[Request]:
        """What it answered since the last ``clear``, in the order of the answers' ends."""
        self._wait_for_log()
        with self._access_log.open(encoding="utf-8") as log:
            log.seek(self._seen)
            matches = [LOG_LINE.match(line) for line in log]
        found = [
            Request(match["method"], match["path"], int(match["status"]), int(match["size"]))
            for match in matches
            if match is not None
        ]
        return [request for request in found if not request.path.startswith(BARRIER)]

    def clear(self) -> None:
        """Forget the requests until now."""
        self._wait_for_log()
        self._seen = self._access_log.stat().st_size

    def _wait_for_log(self) -> None:
        """A request is logged shortly after its answer: let one of our own pass through."""
        path = f"{BARRIER}{next(self._barriers)}"
        urllib.request.urlopen(self.url + path, timeout=10).close()
        mark = f" {path} HTTP".encode()
        wait_until(
            lambda: mark in self._access_log.read_bytes(), f"{mark!r} in {self._access_log}", every=0.005
        )


@contextmanager
def run_registry(
    address: str = "127.0.0.1",
    settings: Optional[Mapping[str, Any]] = None,
    tls: Optional[Mapping[str, Any]] = None,
) -> Iterator[Registry]:
    """A registry on a free port of ``address``; ``settings`` go to the top level of its configuration.

    ``tls`` are its settings of that name, without which it speaks plain HTTP.
    """
    program = need_command("docker-registry", "docker-registry")
    with session_directory("registry") as directory:
        port = free_port(address)
        host = f"{address}:{port}"
        http: dict[str, Any] = {"addr": host, **({"tls": dict(tls)} if tls else {})}
        config = _write_config(directory, http, settings or {})
        access_log = directory / "access.log"
        with access_log.open("wb") as stdout, (directory / "registry.log").open("wb") as stderr:
            process = subprocess.Popen(
                [*_unprivileged(directory), program, "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=directory,
                env={"PATH": os.environ["PATH"]},
            )
        try:
            wait_until(lambda: _answers(process, host, directory), f"registry on {host}")
            yield Registry(host, access_log, "https" if tls else "http")
        finally:
            process.kill()  # it keeps nothing that outlives the run
            process.wait()


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def _write_config(directory: Path, http: Mapping[str, Any], settings: Mapping[str, Any]) -> Path:
    config = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": False}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}, "delete": {"enabled": True}},
        "http": http,
        **settings,
    }
    path = directory / "config.yml"
    path.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    return path


def _unprivileged(directory: Path) -> list[str]:
    """The command that drops root, and that ends the registry with the tests even if those are killed."""
    command = [shutil.which("setpriv") or "setpriv", "--pdeathsig", "KILL"]
    if is_root():
        entry = pwd.getpwnam("docker-registry")
        os.chown(directory, entry.pw_uid, entry.pw_gid)
        command += [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    return command


def _answers(process: subprocess.Popen[bytes], host: str, directory: Path) -> bool:
    if process.poll() is not None:
        raise AssertionError(f"registry: ended at once: {(directory / 'registry.log').read_text()}")
    try:
        urllib.request.urlopen(f"http://{host}/v2/", timeout=5).close()
    except HTTPError:  # it asks for a password
        return True
    except URLError:  # not listening yet
        return False
    return True
