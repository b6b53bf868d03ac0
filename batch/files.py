"""Small files that several processes and nodes write and read at once."""

from __future__ import annotations

import errno
import os
import re

from udocker.api import TYPE_CHECKING, StoreError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Optional

    from _typeshed import StrPath

_SPACE = "free some space there, or set UDOCKER_DIR to a directory that you can write"
_HINTS = {errno.ENOSPC: _SPACE, errno.EDQUOT: _SPACE}
_TEMPORARY = r"\.(?P<name>.+)\.tmp-(?P<host>[A-Za-z0-9_-]+)-(?P<pid>\d{1,10})-[0-9a-f]{8}"


def store_error(act: str, error: OSError, path: Optional[StrPath] = None) -> StoreError:
    """The error for the user of an OSError met while doing ``act`` on ``path``."""
    where = path if path is not None else error.filename
    hint = _HINTS.get(error.errno or 0, "set UDOCKER_DIR to a directory that you can write")
    return StoreError(f"{act}: {where}: {error.strerror or error}", hint)


def temporary_beside(path: StrPath) -> str:
    """A name for a file of this process that is to become ``path``."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.tmp-{_host()}-{os.getpid()}-{os.urandom(4).hex()}")


def write_atomically(path: StrPath, text: str, *, replace: bool = True) -> None:
    """Make ``path`` hold ``text``, whole or not at all, also after a crash; raises OSError.

    With ``replace`` False an existing file is left alone and FileExistsError raised: of several writers
    exactly one succeeds (link(2)).  ``text`` must be ASCII, as JSON is.
    """
    temporary = temporary_beside(path)
    try:
        with open(temporary, "x", encoding="ascii") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
            os.unlink(temporary)
    except BaseException:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass  # it was never made, or it is path already
        raise


def is_temporary(path: Path) -> bool:
    """Whether ``path`` is a file that ``write_atomically`` had not finished."""
    return re.fullmatch(_TEMPORARY, path.name) is not None


def clean_temporary(path: Path) -> None:
    """Remove a temporary file whose writer, on this host, is dead; leave any other.

    On another host there is no telling: its age proves nothing, because clients cache times.
    """
    match = re.fullmatch(_TEMPORARY, path.name)
    if match and match["host"] == _host() and not os.path.exists(f"/proc/{match['pid']}"):
        path.unlink(missing_ok=True)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", os.uname().nodename)
