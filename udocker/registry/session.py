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
from udocker.registry.endpoint import Endpoint
from udocker.registry.retry import MAX_RETRY_AFTER
from udocker.registry.transport import Transport

_MOST_ANSWERS = 3


class RegistrySession:
    """A context manager; ``scope`` is what to ask tokens for, and ``credentials`` replace those stored.

    Every failure there is a RegistryError that begins with ``subject``.
    """

    def __init__(
        self,
        config: Config,
        endpoint: Endpoint,
        subject: str,
        scope: str,
        credentials: Optional[Credentials] = None,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = MAX_RETRY_AFTER,
    ) -> None:
        self.transport = Transport(
            config, endpoint.host, subject, sleep, plain=endpoint.plain, patience=patience
        )

        def find() -> Optional[Credentials]:
            return credentials or find_credentials(config, endpoint.host)

        self._authorizer = Authorizer(self.transport, endpoint.host, scope, find)

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
        """Send a request, and again with (new) credentials if the registry asks for them.

        A token that another thread got may have expired when its turn comes; a new one that is refused
        would be refused again.
        """
        asked = {"Accept": accept, **(extra or {})}
        authorization, is_new = self._authorizer.headers(), False
        for _ in range(_MOST_ANSWERS):
            response = self.transport.send(method, path, {**asked, **authorization})
            challenge = response.headers.get("WWW-Authenticate", "")
            refused = response.status_code == 401 and challenge and self.transport.is_registry(response.url)
            if is_new or not refused:
                return response
            response.close()
            authorization, is_new = self._authorizer.answer(challenge, authorization)
        return self.transport.send(method, path, {**asked, **authorization})
