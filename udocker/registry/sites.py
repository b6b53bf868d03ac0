"""The places that have an image's repository: mirrors in their order, then the registry itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Callable, Optional, TypeVar

import requests

from udocker.config import Config
from udocker.errors import RegistryError
from udocker.model.reference import ImageReference
from udocker.registry.endpoint import Endpoint, mirrors_of, registry_of
from udocker.registry.retry import MAX_RETRY_AFTER
from udocker.registry.session import RegistrySession

# Somebody else has the image: no reason to wait long for a mirror.
_MIRROR_RETRIES = 1
_MIRROR_PATIENCE = 2.0  # seconds
_Result = TypeVar("_Result")

_log = logging.getLogger(__name__)


class Site:
    """A repository at one place; credentials are those of this place and are sent nowhere else."""

    def __init__(
        self,
        config: Config,
        endpoint: Endpoint,
        reference: ImageReference,
        act: str,
        sleep: Callable[[float], None],
        is_mirror: bool,
    ) -> None:
        self.host = endpoint.host
        self.is_mirror = is_mirror
        self.has_failed = False
        self._base = endpoint.base(reference)
        scope = endpoint.scope(reference)
        patience = _MIRROR_PATIENCE if is_mirror else MAX_RETRY_AFTER
        subject = f"{act}: {reference}"
        self._session = RegistrySession(config, endpoint, subject, scope, sleep=sleep, patience=patience)
        self.transport = self._session.transport

    def open(
        self, method: str, path: str, accept: str, headers: Optional[Mapping[str, str]] = None
    ) -> requests.Response:
        """Send a request for a path in the repository; raises RegistryError."""
        return self._session.open(method, f"{self._base}/{path}", accept, headers)


class Sites:
    """Asks the mirrors, and the registry for what they do not give; a mirror's failure never is the last."""

    def __init__(
        self,
        config: Config,
        reference: ImageReference,
        act: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        hasty = replace(config, registry_retries=min(config.registry_retries, _MIRROR_RETRIES))
        self._mirrors = [
            Site(hasty, endpoint, reference, act, sleep, is_mirror=True)
            for endpoint in mirrors_of(config, reference)
        ]
        self.registry = Site(config, registry_of(config, reference), reference, act, sleep, is_mirror=False)
        self._is_stopped = False

    def ask(self, act: Callable[[Site], _Result]) -> _Result:
        """What ``act`` returns for the first place that serves it; raises the registry's RegistryError."""
        for mirror in self._mirrors:
            if mirror.has_failed:
                continue
            try:
                return act(mirror)
            except RegistryError as failure:
                if self._is_stopped:
                    raise
                # A mirror need not have everything; one that fails otherwise is not asked for the rest.
                mirror.has_failed = failure.status != 404
                _log.warning("%s; going on without the mirror %s", failure.message, mirror.host)
        return act(self.registry)

    def stop(self) -> None:
        """End what any thread is doing here: it gets a RegistryError, soon."""
        self._is_stopped = True
        for site in (*self._mirrors, self.registry):
            site.transport.stop()

    def check_stopped(self) -> None:
        """Raise RegistryError after ``stop``."""
        self.registry.transport.check_stopped()

    def close(self) -> None:
        """Close the connections."""
        for site in (*self._mirrors, self.registry):
            site.transport.close()
