"""How long a lock is waited for, apart from the lock itself, which few commands take."""

from __future__ import annotations

from udocker.values import dataclass


@dataclass(frozen=True)
class LockTiming:
    """Seconds: between beats, without a beat until a holder counts as dead, of waiting at most."""

    beat: float
    stale: float
    wait: float
