"""Work that one process does for all, on any number of nodes; the others wait for it, or fail with it.

Who finds it done takes no lock.  Of the others one does it under a lock of the store.  When that one dies,
the next of them takes over.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from udocker import api

from .errors import BatchError
from .prepare import PREPARED, WAITED, WARM

_LOG = logging.getLogger(__name__)

Gate = Callable[[str], Optional[Path]]


@dataclass(frozen=True)
class Work:
    """Something to be done once: ``do`` gets the name of a workspace below the store's ``tmp``.

    ``is_done`` is asked often and ought to be cheap; ``is_done_now`` is asked when it may have come since,
    and must not believe what a client of a shared file system remembers.  ``do`` says whether it has pulled
    an image.
    """

    config: api.Config
    key: str
    is_done: Callable[[], bool]
    is_done_now: Callable[[], bool]
    do: Callable[[str], bool]

    def ensure(self, gate: Optional[Gate] = None) -> tuple[str, bool, float]:
        """Have it done: the role played, whether an image was pulled, how many seconds that took.

        ``gate`` names a file on the node for the key, at which its processes wait for one of them in the
        kernel, so that only that one asks the shared file system.  Raises BatchError where another process
        that this one waited for has failed, else what ``do`` raises.
        """
        if self.is_done():
            return WARM, False, 0.0
        started = time.monotonic()
        attempt = _Attempt(self)
        with _passed(gate(self.key) if gate is not None else None):
            role, pulled = attempt.run()
            while not role:
                role, pulled = _Attempt(self).run()
        return role, pulled, time.monotonic() - started


@contextmanager
def _passed(path: Optional[Path]) -> Iterator[None]:
    """Pass one at a time; the kernel lets the next one pass however this one ends (flock(2)).

    A gate only saves work: where a full disk allows none, all go on at once.
    """
    with ExitStack() as held:
        if path is not None:
            try:
                file = held.enter_context(path.open("a"))
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                _LOG.debug("%s: %s", path, error)
        yield


class _Attempt:
    """One round: wait until somebody has done it, or do it."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._lock = api.shared_lock(work.config, work.key)
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
            if self._work.is_done_now():
                return WAITED, False
            api.discard_workspaces(self._work.config, f"{self._work.key}-g")
            return PREPARED, self._work.do(f"{self._work.key}-g{holding.generation}")
        except api.UdockerError as failure:
            if self._lock.newest() > holding.generation:
                return "", False  # suspended so long that another has taken over and cleared our files
            error, hint = failure.message, failure.hint
            raise
        finally:
            # Without an error, as after SIGTERM, those who wait find the lock free and take over.
            holding.release(error, hint)

    def _ready(self) -> bool:
        if self._work.is_done():
            return True
        generation = self._lock.newest()
        outcome = self._lock.outcome(generation) if generation > self._known else None
        if outcome is None:
            return False
        if outcome.error:
            raise BatchError(outcome.error, outcome.hint)
        return self._work.is_done_now()
