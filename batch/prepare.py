"""Prepare once: one pull and one unpacking for any number of tasks, on any number of nodes.

A task that finds the container ready takes no lock and asks for one name.  Of those that do not, one pulls
and unpacks under the lock of the image's digest; the others wait for the container to appear, or for that one
to fail.  When it dies, the next of them takes over.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from udocker import api

from .errors import BatchError

WARM, WAITED, PREPARED = "warm", "waited", "prepared"


@dataclass(frozen=True)
class Preparation:
    """What this process did for the container: found it (``warm``), ``waited`` for another process, or
    ``prepared`` it; ``seconds`` is how long that took."""

    container: str
    role: str
    seconds: float
    pulled: bool = False


def prepare(config: api.Config, image: str) -> Preparation:
    """Make sure that the container of a pinned image is there.

    Raises BatchError where another process that this one waited for has failed, else what pulling and
    unpacking raise.
    """
    container = api.prepared_container(config, image)
    if api.has_container(config, container):
        return Preparation(container, WARM, 0.0)
    started = time.monotonic()
    while True:
        attempt = _Attempt(config, image, container)
        role, pulled = attempt.run()
        if role:
            return Preparation(container, role, time.monotonic() - started, pulled)


class _Attempt:
    """One round: wait until somebody has done it, or do it."""

    def __init__(self, config: api.Config, image: str, container: str) -> None:
        self._config = config
        self._image = image
        self._container = container
        self._key = f"prepare-{container}"
        self._lock = api.shared_lock(config, self._key)
        newest = self._lock.newest()
        # A generation that had ended before we came does not concern us; one that runs now does.
        self._known = newest if self._lock.outcome(newest) is not None else newest - 1

    def run(self) -> tuple[str, bool]:
        """The role played, and whether the image was pulled; no role when it has to be tried again."""
        holding = self._lock.acquire(self._ready)
        if holding is None:
            return WAITED, False
        error, hint = "", ""
        try:
            if api.is_published(self._config, self._container):
                return WAITED, False
            api.discard_workspaces(self._config, f"{self._key}-g")
            workspace = f"{self._key}-g{holding.generation}"
            return PREPARED, api.create_container(self._config, self._image, self._container, workspace)
        except api.UdockerError as failure:
            if self._lock.newest() > holding.generation:
                return "", False  # suspended so long that another has taken over and cleared our files
            error, hint = failure.message, failure.hint
            raise
        finally:
            # Without an error, as after SIGTERM, those who wait find the lock free and take over.
            holding.release(error, hint)

    def _ready(self) -> bool:
        return self._ready_at(self._lock.newest())

    def _ready_at(self, generation: int) -> bool:
        if api.has_container(self._config, self._container):
            return True
        outcome = self._lock.outcome(generation) if generation > self._known else None
        if outcome is None:
            return False
        if outcome.error:
            raise BatchError(outcome.error, outcome.hint)
        return api.is_published(self._config, self._container)
