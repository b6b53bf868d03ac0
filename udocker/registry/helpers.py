"""docker's credential helpers: programs that keep passwords, asked by the address of a registry.

The protocol is that of github.com/docker/docker-credential-helpers: the program ``docker-credential-NAME``
with the argument ``get`` reads an address and answers a JSON object, or says in words why it cannot.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import Any, Optional

from udocker.errors import ConfigError
from udocker.registry.credentials import HUB_NAMES, Credentials, host_of_key
from udocker.registry.words import printable

HELPER_SECONDS = 30.0
_LARGEST_ANSWER = 64 << 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HUB_ADDRESS = "https://index.docker.io/v1/"
_NOT_FOUND = "credentials not found"
# What a helper gives as the user's name when it keeps a token that is no password.
_TOKEN_USER = "<token>"


def helper_of(settings: Mapping[str, Any], registry: str) -> str:
    """The name of the helper that docker's config.json names for ``registry``; empty for none."""
    chosen = settings.get("credHelpers")
    names = HUB_NAMES if registry in HUB_NAMES else {registry.lower()}
    for key, name in chosen.items() if isinstance(chosen, Mapping) else ():
        if host_of_key(key) in names and isinstance(name, str):
            return name
    name = settings.get("credsStore")
    return name if isinstance(name, str) else ""


def ask_helper(name: str, registry: str, seconds: float = HELPER_SECONDS) -> Optional[Credentials]:
    """What the helper keeps for ``registry``, or None; raises ConfigError where it fails."""
    program = f"docker-credential-{name}"
    path = shutil.which(program) if _NAME.fullmatch(name) else None
    if path is None:
        raise ConfigError(f"credential helper: {printable(program, 100)}: not found on PATH")
    address = _HUB_ADDRESS if registry in HUB_NAMES else registry
    status, answer = _run(path, program, address, seconds)
    if status != 0:
        words = printable(answer.decode("utf-8", "replace"), 200)
        if words.startswith(_NOT_FOUND):
            return None
        raise ConfigError(f"credential helper: {program}: {registry}: {words or f'exit status {status}'}")
    return _parse(program, registry, answer)


def _parse(program: str, registry: str, answer: bytes) -> Optional[Credentials]:
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        # Reported below; the answer may hold a secret and is not shown.
        document = None
    fields = document if isinstance(document, dict) else {}
    user, secret = fields.get("Username"), fields.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str):
        raise ConfigError(f"credential helper: {program}: {registry}: its answer holds no name and secret")
    if user == _TOKEN_USER:
        raise ConfigError(f"credential helper: {program}: {registry}: it keeps a token, and no password")
    return Credentials(user, secret) if user else None


def _run(path: str, program: str, address: str, seconds: float) -> tuple[int, bytes]:
    """Exit status and answer, within bounds of time and size; raises ConfigError."""
    try:
        process = subprocess.Popen(  # the user's own configuration names it, as for docker
            [path, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigError(f"credential helper: {path}: {error.strerror}") from error
    try:
        answer = _exchange(process, f"{address}\n".encode(), time.monotonic() + seconds)
        if answer is not None:
            return process.wait(timeout=seconds), answer
        cause = f"no answer in {seconds:g} s"
    except subprocess.TimeoutExpired:
        cause = f"does not end in {seconds:g} s"
    except ValueError:
        cause = f"its answer is longer than {_LARGEST_ANSWER} bytes"
    finally:
        _end(process)
    raise ConfigError(f"credential helper: {program}: {cause}")


def _exchange(process: subprocess.Popen[bytes], question: bytes, until: float) -> Optional[bytes]:
    """The whole answer, None when time is up; raises ValueError for one that is too long."""
    assert process.stdin is not None and process.stdout is not None
    try:
        # Far less than a pipe takes at once (pipe(7), PIPE_BUF), so this waits for nobody.
        os.write(process.stdin.fileno(), question)
    except BrokenPipeError:
        pass  # it did not want the question; what it says decides
    process.stdin.close()
    answer = b""
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while ready.select(max(0.0, until - time.monotonic())):
            block = os.read(process.stdout.fileno(), _LARGEST_ANSWER)
            if not block:
                return answer
            answer += block
            if len(answer) > _LARGEST_ANSWER:
                raise ValueError
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing of it running: the session was made for it alone."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
