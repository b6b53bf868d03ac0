"""How long a lock across nodes waits, and for what."""

from __future__ import annotations

from udocker.values import dataclass


@dataclass(frozen=True)
class LockTiming:
    """Seconds: between beats, without a beat until a holder counts as dead, of waiting at most."""

    beat: float
    stale: float
    wait: float


DEFAULT_TIMING = LockTiming(beat=5.0, stale=90.0, wait=3600.0)
