"""Every error that this package raises on purpose.

::

    UdockerError                 message, hint; exit status 125
      UsageError                 the command line or a value in it
      ConfigError                a setting in the environment or a file
      NotFoundError              an image or container that is not in the store
      RegistryError              a registry refused, failed or answered nonsense
      StoreError                 the store on disk
        StoreLocked              somebody else holds it longer than we wait
        StoreCorrupt             content that does not match its digest or cannot be read
        StoreNoSpace             disk full or over quota
        StoreNotWritable         permissions, a read-only file system
        UnpackError              a layer that cannot or must not be unpacked
      EngineError                an execution engine
        EngineUnavailable        this host does not allow it

Messages read ``act: object: cause``; the hint, where there is one, says what to do.
"""

from __future__ import annotations

import errno
import os

from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional

# docker run's own statuses (docker-run(1), section EXIT STATUS).
EXIT_FAILURE = 125
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127


class UdockerError(Exception):
    """A failure with one line for the user and, where there is one, a hint what to do."""

    exit_status = EXIT_FAILURE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(UdockerError):
    """A command line, or a value on it, that cannot be understood."""


class ConfigError(UdockerError):
    """A setting from the environment or a configuration file that cannot be used."""


class NotFoundError(UdockerError):
    """An image or container that the store does not have."""


class RegistryError(UdockerError):
    """A registry that refused, failed, could not be reached or sent something wrong.

    ``status`` is the HTTP status (0 when there was no answer), ``codes`` the error codes of the
    answer's body (OCI distribution specification, section Error Codes), ``temporary`` says whether
    the same request may succeed later.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        method: str = "",
        url: str = "",
        status: int = 0,
        codes: tuple[str, ...] = (),
        temporary: bool = False,
    ) -> None:
        super().__init__(message, hint)
        self.method = method
        self.url = url
        self.status = status
        self.codes = codes
        self.temporary = temporary


class StoreError(UdockerError):
    """The store on disk cannot do what was asked."""


class StoreLocked(StoreError):
    """Another process holds what is needed, for longer than this one waits."""


class StoreCorrupt(StoreError):
    """Content in the store that does not match its digest or cannot be read."""


class StoreNoSpace(StoreError):
    """The disk is full or the user's quota is used up."""


class StoreNotWritable(StoreError):
    """The store's directory cannot be written."""


class UnpackError(StoreError):
    """A layer that is not a valid archive or asks for something that is not allowed."""


class EngineError(UdockerError):
    """An execution engine failed to prepare or start a container."""


class EngineUnavailable(EngineError):
    """This host does not allow the engine."""


# The end of a hint about a place that has no room or is closed to us.
_ELSEWHERE = "set UDOCKER_DIR to another file system"
_FULL = "that file system is full: remove something there, as udocker rm and rmi do, or {}"
_QUOTA = "your quota there is used up (see quota -s): remove something, as udocker rm and rmi do, or {}"
_DENIED = "it is not yours to write: {}"
_FAILING = "the disk or the file server failed: try again, and tell the administrators if it stays so"

# What a file system says, and what to do about it.
_KINDS: dict[int, tuple[type[StoreError], str]] = {
    errno.ENOSPC: (StoreNoSpace, _FULL),
    errno.EDQUOT: (StoreNoSpace, _QUOTA),
    errno.EACCES: (StoreNotWritable, _DENIED),
    errno.EPERM: (StoreNotWritable, _DENIED),
    errno.EROFS: (StoreNotWritable, _DENIED),
    # A server that restarted, a client that was shut out (Lustre, FUSE), a disk that breaks.
    **{
        number: (StoreError, _FAILING)
        for number in (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ESHUTDOWN, errno.EREMOTEIO)
    },
}


def from_os_error(
    act: str, error: OSError, path: Optional[str] = None, elsewhere: str = _ELSEWHERE
) -> StoreError:
    """The store error for an OSError met while doing ``act`` on ``path``.

    ``elsewhere`` is what the hint says about using another place.
    """
    # Calls on an open descriptor tell its number, if anything.
    named = "" if error.filename is None or isinstance(error.filename, int) else os.fsdecode(error.filename)
    where = path if path is not None else named
    message = ": ".join(part for part in (act, where, error.strerror or str(error)) if part)
    kind, hint = _KINDS.get(error.errno or 0, (StoreError, ""))
    return kind(message, hint.format(elsewhere))


def unreadable(what: str, error: OSError, remedy: str) -> StoreError:
    """The error for a file of the store that cannot be read: damage, unless it is the disk that fails."""
    if _KINDS.get(error.errno or 0, (StoreError, ""))[1] == _FAILING:
        return from_os_error(what, error, "")
    return StoreCorrupt(f"{what}: {error.strerror}", remedy)
