"""Applying layers to a root directory (OCI image specification, layer.md)."""

from __future__ import annotations

import os
import stat
import struct
import tempfile
from pathlib import Path
from typing import Callable, Optional

from udocker.errors import UnpackError, from_os_error
from udocker.store import tarstream
from udocker.store.compression import PlainFile, open_layer
from udocker.store.contents import (
    finish_file,
    link_or_copy,
    new_file,
    remove_owner,
    set_attributes,
    set_owner,
    write_data,
)
from udocker.store.limits import Budget, Limits
from udocker.store.owners import host_mode, owner_text
from udocker.store.pathset import PathSet
from udocker.store.rootfs import RootTree, clean_path, shown
from udocker.store.tarstream import TarMember, TarReader
from udocker.store.writers import Writers, cores

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
# Times of directories beyond this size wait on disk: they are set when a layer is done.
_TIMES_IN_MEMORY = 4 << 20
_TIME = struct.Struct("<qI")


def unpack_layers(layers: list[Path], root: Path, limits: Optional[Limits] = None) -> None:
    """Apply the layers, lowest first, to the empty directory ``root``.

    All files are the caller's, set-user-id and set-group-id bits are dropped (they would lend his rights to
    others), and he can read, write and search everything; what the layers say of it is written down beside
    (``udocker.store.owners``).  Device nodes are skipped, of extended attributes only the user's are kept.
    Raises UnpackError for a layer that is broken, leads out of the root or is beyond the limits, StoreError
    for what the file system refuses.
    """
    budget = Budget(limits or Limits())
    old = os.umask(0o022)
    try:
        with RootTree(str(root), budget.limits) as tree:
            for number, path in enumerate(layers):
                _unpack_layer(path, tree, budget, str(root), lowest=number == 0)
    except OSError as error:
        raise from_os_error("unpack", error, str(root)) from error
    finally:
        os.umask(old)


def _unpack_layer(path: Path, tree: RootTree, budget: Budget, root: str, lowest: bool) -> None:
    try:
        with path.open("rb", buffering=0) as file:
            if cores() > 1 and PlainFile.is_plain(file.fileno()):
                plain = PlainFile(file.fileno())
                with Writers(root, tree, file.fileno()) as writers:
                    _Layer(tree, TarReader(plain, budget), lowest, writers).apply()
                return
        with open_layer(path, budget.limits) as stream:
            _Layer(tree, TarReader(stream, budget), lowest, None).apply()
    except UnpackError as error:
        hint = error.hint or f"damaged? udocker verify tells; if so remove the file {path} and pull again"
        raise UnpackError(f"{error.message} (layer {path.name})", hint) from error


class _Layer:
    """One layer being applied: what it has made so far decides what its whiteouts hide."""

    def __init__(self, tree: RootTree, reader: TarReader, lowest: bool, writers: Optional[Writers]) -> None:
        self._writers = writers
        self._tree = tree
        self._reader = reader
        self._limits = tree.limits
        self._lowest = lowest
        self._made = PathSet()
        self._above = b""  # the directory of the latest path, which is among those made
        self._again = False  # whether the layer has made the present path before

    def apply(self) -> None:
        """Apply every member."""
        path = b""
        with tempfile.SpooledTemporaryFile(_TIMES_IN_MEMORY) as times:
            self._times = times
            try:
                for member in self._reader:
                    path = clean_path(member.name, self._limits)
                    if path:  # not the root itself, whose directory is ours
                        self._add(member, path)
            except OSError as error:
                raise from_os_error("unpack", error, shown(path)) from error
            self._tree.settle()
            self._set_times()

    def _add(self, member: TarMember, path: bytes) -> None:
        directory, _, name = path.rpartition(b"/")
        if name.startswith(_WHITEOUT):
            self._whiteout(directory, name, path)
            return
        make = _MAKERS.get(member.kind)
        if make is None:
            return
        if self._writers or not self._lowest:
            self._again = not self._mark(path)
            if self._again:
                self._tree.settle()  # what the layer has made there may still be on its way
        make(self, member, path, self._tree.directory(directory, create=True), name)

    def _set_times(self) -> None:
        """Set the times of directories, which every entry made in them has changed."""
        self._times.seek(0)
        while head := self._times.read(_TIME.size):
            moment, length = _TIME.unpack(head)
            try:
                fd = self._tree.directory(self._times.read(length))
            except (FileNotFoundError, UnpackError):
                continue  # a later member of the same layer replaced it
            os.utime(fd, ns=(moment, moment))

    def _mark(self, path: bytes) -> bool:
        """Note that this layer makes a path, and so all that are above it; returns whether it is new."""
        new = self._made.add(path)
        above = path.rpartition(b"/")[0]
        if new and above != self._above:
            self._above = above
            while above and self._made.add(above):
                above = above.rpartition(b"/")[0]
        return new

    def _whiteout(self, directory: bytes, name: bytes, path: bytes) -> None:
        """Remove what lower layers have of a name (layer.md, sections Whiteouts, Opaque Whiteout)."""
        hidden = name[len(_WHITEOUT) :]
        if name != _OPAQUE and hidden in (b"", b".", b".."):
            raise UnpackError(f"unpack: {shown(path)}: a whiteout of no name")
        if self._lowest:
            return  # nothing is below
        self._tree.settle()
        try:
            fd = os.dup(self._tree.directory(directory))  # removing entries closes the tree's own
        except FileNotFoundError:
            return
        try:
            if name == _OPAQUE:
                for entry in os.listdir(fd):
                    self._hide(fd, directory, os.fsencode(entry))
            elif not hidden.startswith(_WHITEOUT):  # .wh..wh.plnk and the like are aufs's own
                self._hide(fd, directory, hidden)
        finally:
            os.close(fd)

    def _hide(self, fd: int, directory: bytes, name: bytes) -> None:
        path = directory + b"/" + name if directory else name
        if path not in self._made:
            self._tree.remove(fd, name)
            return
        if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            return
        # This layer has put something into the directory: only what is older goes.
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        try:
            for entry in os.listdir(inner):
                self._hide(inner, path, os.fsencode(entry))
        finally:
            os.close(inner)

    def _file(self, member: TarMember, path: bytes, fd: int, name: bytes) -> None:
        mode = host_mode(member.mode, False)
        owner = owner_text(member.uid, member.gid, member.mode, False)
        if self._writers:
            directory = path.rpartition(b"/")[0]
            if self._is_for_writers(member, directory, fd, name):
                job = (directory, name, mode, member.mtime, owner, self._reader.offset, member.size)
                self._writers.add(job)
                return
            self._writers.settle()
        try:
            out = new_file(name, mode, fd)
        except FileExistsError:
            self._tree.remove(fd, name)
            out = new_file(name, mode, fd)
        try:
            if member.size:
                write_data(out, self._reader, member)
            if member.xattrs:
                set_attributes(out, member.xattrs)
            finish_file(out, mode, member.mtime, owner)
        finally:
            os.close(out)

    def _is_for_writers(self, member: TarMember, directory: bytes, fd: int, name: bytes) -> bool:
        """Whether a file is plain, and its path can mean nothing else, now or to a later member."""
        if member.pieces is not None or member.xattrs or not self._tree.is_direct(directory):
            return False
        if self._lowest and not self._again:
            return True
        try:
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return True
        return not (stat.S_ISDIR(mode) or stat.S_ISLNK(mode))

    def _directory(self, member: TarMember, path: bytes, fd: int, name: bytes) -> None:
        mode = host_mode(member.mode, True)
        owner = owner_text(member.uid, member.gid, member.mode, True)
        was_there = False
        try:
            os.mkdir(name, mode, dir_fd=fd)
        except FileExistsError:
            was_there = True
            if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                self._tree.remove(fd, name)
                os.mkdir(name, mode, dir_fd=fd)
        # By descriptor, as chmod by name would follow a link; and mkdir(2) heeds the umask.
        made = self._tree.directory(path)
        os.fchmod(made, mode)
        if member.xattrs:
            set_attributes(made, member.xattrs)
        if owner:
            set_owner(made, owner)
        elif was_there:
            remove_owner(made)
        self._times.write(_TIME.pack(member.mtime, len(path)) + path)

    def _symlink(self, member: TarMember, path: bytes, fd: int, name: bytes) -> None:
        if not member.link:
            raise UnpackError(f"unpack: {shown(path)}: a symbolic link to nothing")
        try:
            os.symlink(member.link, name, dir_fd=fd)
        except FileExistsError:
            self._tree.remove(fd, name)
            os.symlink(member.link, name, dir_fd=fd)
        os.utime(name, ns=(member.mtime, member.mtime), dir_fd=fd, follow_symlinks=False)

    def _hardlink(self, member: TarMember, path: bytes, fd: int, name: bytes) -> None:
        target = clean_path(member.link, self._limits)
        if target == path:
            return
        self._tree.settle()
        above, _, base = target.rpartition(b"/")
        missing = f"unpack: {shown(path)}: hard link to {shown(target)}, which is not there"
        try:
            source = os.dup(self._tree.directory(above))  # the next look-up may close it
        except FileNotFoundError:
            raise UnpackError(missing) from None
        try:
            fd = self._tree.directory(path.rpartition(b"/")[0])
            if stat.S_ISDIR(os.stat(base or b".", dir_fd=source, follow_symlinks=False).st_mode):
                raise UnpackError(f"unpack: {shown(path)}: hard link to a directory")
            self._tree.remove(fd, name)
            link_or_copy(source, base, fd, name)
        except FileNotFoundError:
            raise UnpackError(missing) from None
        finally:
            os.close(source)

    def _fifo(self, member: TarMember, path: bytes, fd: int, name: bytes) -> None:
        self._tree.remove(fd, name)
        os.mkfifo(name, (member.mode & 0o777) | 0o600, dir_fd=fd)


_Maker = Callable[[_Layer, TarMember, bytes, int, bytes], None]

# Device nodes need root and are bound from the host, so they have no entry.
_MAKERS: dict[bytes, _Maker] = {
    tarstream.FILE: _Layer._file,
    tarstream.HARDLINK: _Layer._hardlink,
    tarstream.SYMLINK: _Layer._symlink,
    tarstream.DIRECTORY: _Layer._directory,
    tarstream.FIFO: _Layer._fifo,
}
