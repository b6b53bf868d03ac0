"""Files and directories, changed so that nobody ever sees them half done."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import stat
from pathlib import Path
from typing import Any, Callable


def unique_name(prefix: str = "") -> str:
    """A name that no other process of any node makes: host, pid and random digits."""
    host = socket.gethostname().split(".")[0].replace("/", "_")
    return f"{prefix}{host}-{os.getpid()}-{secrets.token_hex(6)}"


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable (fsync(2), on directories)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by a file holding ``data``: readers see the old content or the new, whole.

    The new file is made beside the old one, because rename(2) is atomic in one file system only.
    """
    temporary = path.with_name(unique_name(f".{path.name[:100]}."))
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_tree(path: Path) -> None:
    """Delete a tree whatever its permissions, following no symbolic link; a missing one is fine."""

    def allow_and_retry(function: Callable[..., Any], name: str, info: Any) -> None:
        error = info[1]
        if isinstance(error, FileNotFoundError):
            return  # somebody else deletes the same tree
        if not isinstance(error, PermissionError):
            raise error
        # A directory without write or search permission keeps its entries from being removed.
        os.chmod(os.path.dirname(name), stat.S_IRWXU)
        if os.path.isdir(name) and not os.path.islink(name):
            os.chmod(name, stat.S_IRWXU)
            shutil.rmtree(name, onerror=allow_and_retry)
        else:
            os.unlink(name)

    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, onerror=allow_and_retry)
