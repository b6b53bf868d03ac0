"""Protection of containers and images against removal: a file in their directory, as in udocker 1.3."""

from __future__ import annotations

import os

from udocker.errors import from_os_error
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import StrPath

PROTECT = "PROTECT"


def protect(directory: StrPath, mode: int) -> None:
    """Mark a container's or an image's directory; doing it twice is harmless.  Raises StoreError."""
    try:
        os.close(os.open(os.path.join(directory, PROTECT), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, mode))
    except OSError as error:
        raise from_os_error("protect", error, str(directory)) from error


def unprotect(directory: StrPath) -> None:
    """Take the mark away, where there is one.  Raises StoreError."""
    try:
        os.unlink(os.path.join(directory, PROTECT))
    except FileNotFoundError:
        return  # it was not protected, or somebody else was faster
    except OSError as error:
        raise from_os_error("unprotect", error, str(directory)) from error


def is_protected(directory: StrPath) -> bool:
    """Whether the directory is marked."""
    return os.path.lexists(os.path.join(directory, PROTECT))
