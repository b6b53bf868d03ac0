"""Applying layers to a root directory (OCI image specification, layer.md)."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path
from typing import Any, Callable, Optional, cast

from udocker.errors import UnpackError, from_os_error
from udocker.store.compression import ReadAhead, open_layer
from udocker.store.rootfs import RootTree, clean_path
from udocker.store.tarstream import BAD_ARCHIVE, tar_members

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_COPY = 1 << 20
# Errors of link(2) with which a file system says that it cannot, rather than that the names are wrong.
_NO_HARD_LINKS = (1, 18, 31, 95)  # EPERM, EXDEV, EMLINK, ENOTSUP


def unpack_layers(layers: list[Path], root: Path) -> None:
    """Apply the layers, lowest first, to the empty directory ``root``.

    Owners are not kept, set-user-id and set-group-id bits are dropped (they would lend the caller's
    rights to others), device nodes are skipped, and the owner can read, write and search
    everything.  Raises UnpackError for a layer that is broken or leads out of the root, StoreError for
    what the file system refuses.
    """
    old = os.umask(0o022)
    try:
        with RootTree(str(root)) as tree:
            for layer in layers:
                _unpack_layer(layer, tree)
    except OSError as error:
        raise from_os_error("unpack", error, os.fspath(error.filename or root)) from error
    finally:
        os.umask(old)


def _unpack_layer(layer: Path, tree: RootTree) -> None:
    try:
        with open_layer(layer) as stream:
            _apply(stream, tree)
    except UnpackError as error:
        hint = error.hint or f"damaged? udocker verify tells; if so remove the file {layer} and pull again"
        raise UnpackError(f"{error.message} (layer {layer.name})", hint) from error


def _apply(stream: ReadAhead, tree: RootTree) -> None:
    layer = _Layer(tree)
    try:
        for archive, member in tar_members(stream):
            layer.add(member, archive)
    except BAD_ARCHIVE as error:
        raise UnpackError(f"unpack: layer: {error}") from error
    layer.finish()


class _Layer:
    """One layer being applied: what it has made so far decides what its whiteouts hide."""

    def __init__(self, tree: RootTree) -> None:
        self._tree = tree
        self._made: set[str] = set()
        self._directories: dict[str, int] = {}

    def add(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        """Apply one member."""
        path = clean_path(member.name)
        if not path:
            return  # the root itself, whose directory is ours
        base = path.rpartition("/")[2]
        if base.startswith(_WHITEOUT):
            self._whiteout(path, base)
            return
        make = _MAKERS.get(member.type)
        if make is None:
            return
        self._mark(path)
        fd, name = self._tree.parent(path)
        make(self, member, archive, path, fd, name)

    def finish(self) -> None:
        """Set the times of directories, which every entry made in them has changed."""
        for path, seconds in self._directories.items():
            try:
                fd = self._tree.directory(path)
            except (FileNotFoundError, UnpackError):
                continue  # a later member of the same layer replaced it
            os.utime(fd, ns=(seconds, seconds))

    def _mark(self, path: str) -> None:
        while path and path not in self._made:
            self._made.add(path)
            path = path.rpartition("/")[0]

    def _whiteout(self, path: str, base: str) -> None:
        """Remove what lower layers have of a name (layer.md, sections Whiteouts, Opaque Whiteout)."""
        try:
            fd = os.dup(self._tree.parent(path, create=False)[0])  # removing entries closes the tree's own
        except FileNotFoundError:
            return
        directory = path.rpartition("/")[0]
        name = base[len(_WHITEOUT) :]
        try:
            if base == _OPAQUE:
                for entry in os.listdir(fd):
                    self._hide(fd, directory, entry)
            elif name in ("", ".", ".."):
                raise UnpackError(f"unpack: {path!r}: a whiteout of no name")
            elif not name.startswith(_WHITEOUT):  # .wh..wh.plnk and the like are aufs's own
                self._hide(fd, directory, name)
        finally:
            os.close(fd)

    def _hide(self, fd: int, directory: str, name: str) -> None:
        path = f"{directory}/{name}" if directory else name
        if path not in self._made:
            self._tree.remove(fd, name)
            return
        if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            return
        # This layer has put something into the directory: only what is older goes.
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        try:
            for entry in os.listdir(inner):
                self._hide(inner, path, entry)
        finally:
            os.close(inner)

    def _file(self, member: tarfile.TarInfo, archive: tarfile.TarFile, path: str, fd: int, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        mode = (member.mode & 0o777) | 0o600
        try:
            out = os.open(name, flags, mode, dir_fd=fd)
        except FileExistsError:
            self._tree.remove(fd, name)
            out = os.open(name, flags, mode, dir_fd=fd)
        try:
            if member.size:
                _copy(archive, out, member)
            if mode & 0o022:
                os.fchmod(out, mode)
            seconds = _nanoseconds(member)
            os.utime(out, ns=(seconds, seconds))
        finally:
            os.close(out)

    def _directory(
        self, member: tarfile.TarInfo, archive: tarfile.TarFile, path: str, fd: int, name: str
    ) -> None:
        mode = (member.mode & 0o1777) | 0o700
        try:
            os.mkdir(name, mode, dir_fd=fd)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                self._tree.remove(fd, name)
                os.mkdir(name, mode, dir_fd=fd)
        # By descriptor, as chmod by name would follow a link; and mkdir(2) heeds the umask.
        os.fchmod(self._tree.directory(path), mode)
        self._directories[path] = _nanoseconds(member)

    def _symlink(
        self, member: tarfile.TarInfo, archive: tarfile.TarFile, path: str, fd: int, name: str
    ) -> None:
        if not member.linkname:
            raise UnpackError(f"unpack: {path!r}: a symbolic link to nothing")
        self._tree.remove(fd, name)
        os.symlink(member.linkname, name, dir_fd=fd)
        seconds = _nanoseconds(member)
        os.utime(name, ns=(seconds, seconds), dir_fd=fd, follow_symlinks=False)

    def _hardlink(
        self, member: tarfile.TarInfo, archive: tarfile.TarFile, path: str, fd: int, name: str
    ) -> None:
        target = clean_path(member.linkname)
        if target == path:
            return
        try:
            source, base = self._tree.parent(target, create=False)
            source = os.dup(source)  # the next look-up may close it
        except FileNotFoundError:
            raise UnpackError(f"unpack: {path!r}: hard link to {target!r}, which is not there") from None
        try:
            fd, name = self._tree.parent(path)
            if stat.S_ISDIR(_mode(base, source, path, target)):
                raise UnpackError(f"unpack: {path!r}: hard link to a directory")
            self._tree.remove(fd, name)
            _link(source, base, fd, name)
        finally:
            os.close(source)

    def _fifo(self, member: tarfile.TarInfo, archive: tarfile.TarFile, path: str, fd: int, name: str) -> None:
        self._tree.remove(fd, name)
        os.mkfifo(name, (member.mode & 0o777) | 0o600, dir_fd=fd)


_Maker = Callable[[_Layer, tarfile.TarInfo, tarfile.TarFile, str, int, str], None]

# Device nodes need root and are bound from the host, so they have no entry.
_MAKERS: dict[bytes, _Maker] = {
    tarfile.DIRTYPE: _Layer._directory,
    tarfile.SYMTYPE: _Layer._symlink,
    tarfile.LNKTYPE: _Layer._hardlink,
    tarfile.FIFOTYPE: _Layer._fifo,
    **{kind: _Layer._file for kind in tarfile.REGULAR_TYPES},
}


def _nanoseconds(member: tarfile.TarInfo) -> int:
    # Times before 1970 or beyond 64 bits are nonsense that some file systems refuse.
    return int(min(max(member.mtime, 0), 1 << 33) * 1_000_000_000)


def _copy(archive: tarfile.TarFile, out: int, member: tarfile.TarInfo) -> None:
    """Write a member's content; of a sparse one only the pieces that have data, which lie in a row."""
    stream = cast(Any, archive.fileobj)
    sparse: Optional[list[tuple[int, int]]] = member.sparse  # type: ignore[assignment]
    at = member.offset_data
    for offset, length in sparse if sparse is not None else [(0, member.size)]:
        if sparse is not None:
            os.lseek(out, offset, os.SEEK_SET)
        stream.seek(at)
        at += length
        while length > 0:
            block = stream.read(min(length, _COPY))
            if not block:
                raise UnpackError(f"unpack: {member.name!r}: the layer ends in the middle of it")
            length -= len(block)
            while block:
                block = block[os.write(out, block) :]
    if sparse is not None:
        os.ftruncate(out, member.size)


def _mode(name: str, fd: int, path: str, target: str) -> int:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        raise UnpackError(f"unpack: {path!r}: hard link to {target!r}, which is not there") from None


def _link(source: int, base: str, fd: int, name: str) -> None:
    try:
        os.link(base, name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _copy_entry(source, base, fd, name)


def _copy_entry(source: int, base: str, fd: int, name: str) -> None:
    """A copy in place of a hard link, where the file system has none."""
    info = os.stat(base, dir_fd=source, follow_symlinks=False)
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(base, dir_fd=source), name, dir_fd=fd)
        return
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(base, os.O_RDONLY | flags, dir_fd=source), "rb") as original:
        mode = stat.S_IMODE(info.st_mode)
        copy = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, mode, dir_fd=fd)
        with open(copy, "wb") as target:
            while True:
                block = original.read(_COPY)
                if not block:
                    break
                target.write(block)
            os.fchmod(target.fileno(), mode)
            os.utime(target.fileno(), ns=(info.st_atime_ns, info.st_mtime_ns))
