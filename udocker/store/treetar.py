"""A directory tree as a tar archive, following no link out of it even while it changes."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, Optional

from udocker.errors import StoreError, from_os_error
from udocker.store.owners import read_owner

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
}


def write_tree(root: Path, stream: BinaryIO, skip: Collection[str] = ()) -> None:
    """Write everything below ``root`` but its entries ``skip``, sorted by name.

    Owners and permissions are the container's (``udocker.store.owners``).  Hard links stay links; sockets are
    left out, and devices but for those that the container made.  Raises StoreError, OSError.
    """
    with tarfile.open(
        fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        writer = _Writer(archive)
        try:
            for path, directories, files, fd in os.fwalk(root, onerror=_raise):
                directories.sort()
                below = os.path.relpath(path, root)
                left_out = skip if below == os.curdir else ()
                for name in sorted({*directories, *files}.difference(left_out)):
                    writer.add(os.path.normpath(os.path.join(below, name)), name, fd)
        except RecursionError:
            raise StoreError(f"export: {root}: directories are nested too deep") from None
        except tarfile.TarError as error:
            raise StoreError(f"export: {root}: {error}") from error


def _raise(error: OSError) -> None:
    raise from_os_error("export", error)


class _Writer:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._seen: dict[tuple[int, int], str] = {}

    def add(self, path: str, name: str, fd: int) -> None:
        """Write the entry ``name`` of the directory ``fd`` under ``path``."""
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return  # removed meanwhile
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            return
        info = tarfile.TarInfo(path + "/" if kind == tarfile.DIRTYPE else path)
        owner = read_owner(f"/proc/self/fd/{fd}/{name}", status)
        info.type, info.mode, info.mtime = kind, stat.S_IMODE(owner.mode), int(status.st_mtime)
        info.uid, info.gid = owner.uid, owner.gid
        if stat.S_ISCHR(owner.mode) or stat.S_ISBLK(owner.mode):
            info.type = tarfile.CHRTYPE if stat.S_ISCHR(owner.mode) else tarfile.BLKTYPE
            info.devmajor, info.devminor = os.major(owner.device), os.minor(owner.device)
        elif kind == tarfile.SYMTYPE:
            info.linkname = os.readlink(name, dir_fd=fd)
        elif kind == tarfile.REGTYPE:
            first = self._first(status, path)
            if first is None:
                self._file(info, name, fd, stat.S_IMODE(status.st_mode))
                return
            info.type, info.linkname = tarfile.LNKTYPE, first
        self._finish(info)

    def _first(self, status: os.stat_result, path: str) -> Optional[str]:
        """The path under which a file of several names was written already."""
        if status.st_nlink == 1:
            return None
        first = self._seen.setdefault((status.st_dev, status.st_ino), path)
        return None if first == path else first

    def _file(self, info: tarfile.TarInfo, name: str, fd: int, host_mode: int) -> None:
        try:
            with os.fdopen(_open(name, fd, host_mode), "rb") as content:
                info.size = os.fstat(content.fileno()).st_size
                self._archive.addfile(info, content)
        except OSError as error:
            raise from_os_error("export", error, info.name) from error
        self._archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every member

    def _finish(self, info: tarfile.TarInfo) -> None:
        self._archive.addfile(info)
        self._archive.members = []  # type: ignore[attr-defined]


def _open(name: str, fd: int, mode: int) -> int:
    """Open a file of ours that may forbid reading, as a program that is root in its container leaves them."""
    try:
        return os.open(name, _OPEN, dir_fd=fd)
    except PermissionError:
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    try:
        place = f"/proc/self/fd/{handle}"  # chmod by name would follow a link
        os.chmod(place, mode | stat.S_IRUSR)
        try:
            return os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.chmod(place, mode)
    finally:
        os.close(handle)
