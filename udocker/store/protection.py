"""Protection of containers and images against removal: a file in their directory, as in udocker 1.3."""

from __future__ import annotations

import os
from pathlib import Path

from udocker.errors import from_os_error

PROTECT = "PROTECT"


def protect(directory: Path, mode: int) -> None:
    """Mark a container's or an image's directory; doing it twice is harmless.  Raises StoreError."""
    try:
        os.close(os.open(directory / PROTECT, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, mode))
    except OSError as error:
        raise from_os_error("protect", error, str(directory)) from error


def unprotect(directory: Path) -> None:
    """Take the mark away, where there is one.  Raises StoreError."""
    try:
        (directory / PROTECT).unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error("unprotect", error, str(directory)) from error


def is_protected(directory: Path) -> bool:
    """Whether the directory is marked."""
    return os.path.lexists(directory / PROTECT)
