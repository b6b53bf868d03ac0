"""Wait for a state instead of sleeping."""

from __future__ import annotations

import time
from typing import Callable, Optional, TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], Optional[T]], what: str, timeout: float = 60, every: float = 0.1) -> T:
    """What ``condition`` returns once that is true; AssertionError after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"{what}: not after {timeout:g} s")
        time.sleep(every)
