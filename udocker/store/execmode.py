"""How a container was set up, in the files that udocker 1.3 keeps beside its root.

``execmode`` holds a mode's name; ``nvidia`` is there where the host's NVIDIA driver is to be shown.
``.bind_orig_files`` holds files of the root that its R modes put away, as ``#etc#passwd``, with links to
``/.bind_host_files`` in their place.  For its F modes ``root.path`` and ``patch.path`` tell where root and
container were on the host, ``ld.so.path`` what the dynamic loader is called, ``ld.so.orig`` what it was.
"""

from __future__ import annotations

import os
from pathlib import Path

from udocker.errors import StoreCorrupt, UsageError, from_os_error
from udocker.model.mode import ExecutionMode
from udocker.system.files import write_atomically
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional

_MODE, _NVIDIA, PARKED = "execmode", "nvidia", ".bind_orig_files"
# Where the links that the R modes leave in the root point to.
PARKED_TARGET = "/.bind_host_files"
_MODE_SIZE_MAX = 100
_LINE_MAX = 4096
_ROOT = "ROOT"


def read_mode(directory: Path) -> Optional[ExecutionMode]:
    """The recorded mode, None where none is; raises StoreCorrupt for a name that nobody knows."""
    try:
        with (directory / _MODE).open("rb") as stream:
            text = stream.read(_MODE_SIZE_MAX).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os_error("execution mode", error, str(directory / _MODE)) from error
    try:
        return ExecutionMode.parse(text) if text else None
    except UsageError as error:
        message = f"container: {directory / _MODE}: {error.message}"
        raise StoreCorrupt(message, "udocker setup --execmode=R1 --force records another") from None


def write_mode(directory: Path, mode: ExecutionMode, permissions: int) -> None:
    """Record a mode; raises StoreError."""
    _write(directory / _MODE, mode.value.encode(), permissions)


def wants_nvidia(directory: Path) -> bool:
    """Whether the host's NVIDIA driver is to be shown in the container."""
    return (directory / _NVIDIA).exists()


def set_nvidia(directory: Path, permissions: int) -> None:
    """Record that it is; raises StoreError."""
    _write(directory / _NVIDIA, b"", permissions)


def parked_files(directory: Path) -> Optional[Path]:
    """Where the R modes of udocker 1.3 put files of the root away, None where they did not."""
    path = directory / PARKED
    try:
        return path if os.listdir(path) else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def parked_file(parked: Path, path: str) -> Optional[Path]:
    """The file that was at ``path`` of the root, if it was put away."""
    file = parked / path.replace("/", "#")
    return file if file.is_file() else None


def recorded_roots(directory: Path) -> tuple[str, ...]:
    """The host's paths of the root that F modes have written into its files; raises StoreError."""
    patched = _line(directory / "patch.path")
    found = (_line(directory / "root.path"), f"{patched}/{_ROOT}" if patched else "")
    return tuple(dict.fromkeys(os.path.normpath(path) for path in found if path))


def original_loader(directory: Path) -> Optional[tuple[str, Path]]:
    """The path of the root's dynamic loader, and its file as it was before an F mode changed it.

    None where that is not recorded; raises StoreError.
    """
    path, file = _line(directory / "ld.so.path"), directory / "ld.so.orig"
    return (os.path.normpath(path), file) if path and file.is_file() else None


def _line(path: Path) -> str:
    """The absolute path that a file holds, empty where there is none."""
    try:
        with path.open("rb") as stream:
            text = os.fsdecode(stream.read(_LINE_MAX)).strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise from_os_error("execution mode", error, str(path)) from error
    return text if text.startswith("/") and text.strip("/") and not {"\0", "\n"} & set(text) else ""


def _write(path: Path, data: bytes, permissions: int) -> None:
    try:
        write_atomically(path, data, permissions)
    except OSError as error:
        raise from_os_error("setup", error, str(path)) from error
