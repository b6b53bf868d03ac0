"""A container in one file, from which nodes unpack it: a tar of its directory by zstd, with its size.

One file is opened and read in one go, where a tree of thousands costs a shared file system an operation or
more for each.  The size is in a frame of zstd's that every reader passes over (RFC 8878, 3.1.2).
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import zstandard

from udocker.errors import StoreCorrupt, from_os_error, unreadable
from udocker.store.protection import PROTECT
from udocker.store.treetar import write_tree
from udocker.system.files import sync_directory, tree_size

# Level 3 is zstd's own default; the checksum tells what a disk has damaged.
_LEVEL = 3
_SKIPPED = struct.Struct("<IIQ")  # magic number, length of what follows, bytes that the tree takes
_MAGIC = 0x184D2A50


def pack(directory: Path, temporary: Path, target: Path, mode: int) -> None:
    """Write a container's directory to ``temporary`` and rename that to ``target``, durably.

    Both are in one file system; ``mode`` is the file's.  Raises StoreError.
    """
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True, threads=-1)
    try:
        with temporary.open("xb") as file:
            os.fchmod(file.fileno(), mode)
            with compressor.stream_writer(file, closefd=False) as stream:
                write_tree(directory, stream, skip=(PROTECT,))
            file.write(_SKIPPED.pack(_MAGIC, _SKIPPED.size - 8, tree_size(directory)))
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, target)
        sync_directory(target.parent)
    except OSError as error:
        raise from_os_error("pack", error, str(temporary)) from error


def packed_size(path: Path) -> int:
    """How many bytes the container in a file takes on disk when it is unpacked.

    Raises StoreError, StoreCorrupt for what ``pack`` has not written.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _SKIPPED.size))
            tail = file.read()
    except OSError as error:
        raise unreadable(f"unpack: {path}", error, "remove it; the next task makes it again") from error
    if len(tail) == _SKIPPED.size:
        magic, length, size = _SKIPPED.unpack(tail)
        if (magic, length) == (_MAGIC, _SKIPPED.size - 8):
            return int(size)
    raise StoreCorrupt(f"unpack: {path}: not a packed container", "remove it; the next task makes it again")
