"""When to try a request again."""

from __future__ import annotations

import random
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Optional

# Statuses after which the same request may succeed: too early, too many, and every 5xx but those that
# say "never" (RFC 9110, 15.6.2 and 15.6.6).
_TEMPORARY = frozenset({408, 425, 429})
_PERMANENT = frozenset({501, 505})

# The longest pause that a registry may ask for, in seconds.
MAX_RETRY_AFTER = 120.0
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0


def is_temporary(status: int) -> bool:
    """Whether an answer with this HTTP status is worth a second request."""
    return status in _TEMPORARY or (500 <= status < 600 and status not in _PERMANENT)


def pause_before(attempt: int) -> float:
    """Seconds to wait before retry number ``attempt`` (from 0): doubling, and jittered by a half.

    The jitter spreads the nodes of a cluster that all met the same failure at the same moment.
    """
    longest: float = min(_FIRST_PAUSE * 2 ** min(attempt, 10), _LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)


def retry_after(value: Optional[str], now: float) -> Optional[float]:
    """Seconds from ``now`` that a Retry-After header asks for; None where it asks for nothing readable.

    Both forms are read, seconds and a date (RFC 9110, 10.2.3).
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            # A date with the zone -0000 comes back without one; HTTP dates are always in GMT.
            date = date.replace(tzinfo=timezone.utc)
        return max(0.0, date.timestamp() - now)
    except (TypeError, ValueError, IndexError, OverflowError):
        # Not a date: the caller's own pause is used.
        return None
