"""How a container was set up, in the files that udocker 1.3 keeps beside its root.

``execmode`` holds a mode's name; ``nvidia`` is there where the host's NVIDIA driver is to be shown.
``.bind_orig_files`` holds files of the root that its R modes put away, as ``#etc#passwd``, with links to
``/.bind_host_files`` in their place.  For its F modes ``root.path`` and ``patch.path`` tell where root and
container were on the host, ``ld.so.path`` what the dynamic loader is called, ``ld.so.orig`` what it was.
"""

from __future__ import annotations

import os

from udocker.errors import StoreCorrupt, UsageError, from_os_error
from udocker.model.mode import ExecutionMode
from udocker.system.files import is_file, is_there, write_atomically
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional

    from _typeshed import StrPath

_MODE, _NVIDIA, PARKED = "execmode", "nvidia", ".bind_orig_files"
# Where the links that the R modes leave in the root point to.
PARKED_TARGET = "/.bind_host_files"
_MODE_SIZE_MAX = 100
_LINE_MAX = 4096
_ROOT = "ROOT"


def read_mode(directory: StrPath) -> Optional[ExecutionMode]:
    """The recorded mode, None where none is; raises StoreCorrupt for a name that nobody knows."""
    path = os.path.join(directory, _MODE)
    try:
        with open(path, "rb") as stream:
            text = stream.read(_MODE_SIZE_MAX).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error("execution mode", error, path) from error
    try:
        return ExecutionMode.parse(text) if text else None
    except UsageError as error:
        message = f"container: {path}: {error.message}"
        raise StoreCorrupt(message, "udocker setup --execmode=R1 --force records another") from None


def write_mode(directory: StrPath, mode: ExecutionMode, permissions: int) -> None:
    """Record a mode; raises StoreError."""
    _write(os.path.join(directory, _MODE), mode.value.encode(), permissions)


def wants_nvidia(directory: StrPath) -> bool:
    """Whether the host's NVIDIA driver is to be shown in the container."""
    return is_there(os.path.join(directory, _NVIDIA))


def set_nvidia(directory: StrPath, permissions: int) -> None:
    """Record that it is; raises StoreError."""
    _write(os.path.join(directory, _NVIDIA), b"", permissions)


def parked_files(directory: StrPath) -> Optional[str]:
    """Where the R modes of udocker 1.3 put files of the root away, None where they did not."""
    path = os.path.join(directory, PARKED)
    try:
        return path if os.listdir(path) else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def parked_file(parked: str, path: str) -> Optional[str]:
    """The file that was at ``path`` of the root, if it was put away."""
    file = os.path.join(parked, path.replace("/", "#"))
    return file if is_file(file) else None


def recorded_roots(directory: StrPath) -> tuple[str, ...]:
    """The host's paths of the root that F modes have written into its files; raises StoreError."""
    patched = _line(directory, "patch.path")
    found = (_line(directory, "root.path"), f"{patched}/{_ROOT}" if patched else "")
    return tuple(dict.fromkeys(os.path.normpath(path) for path in found if path))


def original_loader(directory: StrPath) -> Optional[tuple[str, str]]:
    """The path of the root's dynamic loader, and its file as it was before an F mode changed it.

    None where that is not recorded; raises StoreError.
    """
    path, file = _line(directory, "ld.so.path"), os.path.join(directory, "ld.so.orig")
    return (os.path.normpath(path), file) if path and is_file(file) else None


def _line(directory: StrPath, name: str) -> str:
    """The absolute path that a file holds, empty where there is none."""
    path = os.path.join(directory, name)
    try:
        with open(path, "rb") as stream:
            text = os.fsdecode(stream.read(_LINE_MAX)).strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise from_os_error("execution mode", error, path) from error
    return text if text.startswith("/") and text.strip("/") and not {"\0", "\n"} & set(text) else ""


def _write(path: str, data: bytes, permissions: int) -> None:
    from pathlib import Path  # who runs a container writes nothing

    try:
        write_atomically(Path(path), data, permissions)
    except OSError as error:
        raise from_os_error("setup", error, path) from error
