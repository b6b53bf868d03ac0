"""Requests to one registry with whatever authorization it asks for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Callable, Optional

import requests

from udocker.config import Config
from udocker.registry.auth import Authorizer
from udocker.registry.credentials import Credentials, find_credentials
from udocker.registry.transport import Transport


class RegistrySession:
    """A context manager; ``scope`` is what to ask tokens for, and ``credentials`` replace those stored.

    Every failure there is a RegistryError that begins with ``subject``.
    """

    def __init__(
        self,
        config: Config,
        registry: str,
        subject: str,
        scope: str,
        credentials: Optional[Credentials] = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.transport = Transport(config, registry, subject, sleep)

        def find() -> Optional[Credentials]:
            return credentials or find_credentials(config, registry)

        self._authorizer = Authorizer(self.transport, registry, scope, find)

    def __enter__(self) -> RegistrySession:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.transport.close()

    def open(
        self, method: str, path: str, accept: str = "*/*", extra: Optional[Mapping[str, str]] = None
    ) -> requests.Response:
        """Send a request, and once more with (new) credentials if the registry asks for them."""
        asked = {"Accept": accept, **(extra or {})}
        authorization = self._authorizer.headers()
        response = self.transport.send(method, path, {**asked, **authorization})
        if response.status_code != 401 or not self.transport.is_registry(response.url):
            return response
        challenge = response.headers.get("WWW-Authenticate", "")
        if not challenge:
            return response
        response.close()
        return self.transport.send(
            method, path, {**asked, **self._authorizer.answer(challenge, authorization)}
        )
