"""Wait for a state instead of sleeping."""

from __future__ import annotations

import glob
import os
import time
from pathlib import Path
from typing import Callable, Optional, TypeVar

T = TypeVar("T")


def matches(directory: Path, pattern: str) -> list[str]:
    """Names below ``directory``, while others make and remove some, which Path.glob does not stand."""
    return glob.glob(os.path.join(glob.escape(str(directory)), pattern))


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
