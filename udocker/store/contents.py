"""What a file gets beside its name: data, holes, extended attributes, or another name's content."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping

from udocker.store.owners import ATTRIBUTE, PREFIX
from udocker.store.tarstream import TarMember, TarReader

_COPY = 1 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MASKED = 0o022  # by the umask while layers are unpacked
# Errors of link(2) with which a file system says that it cannot, rather than that the names are wrong.
_NO_HARD_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP)
_USER = b"user."
# Read by overlay file systems whose layers belong to users (Linux, filesystems/overlayfs.rst, "User xattr").
_OVERLAY = b"user.overlay."
# No attributes here, or less room for them than in a full disk, which shows elsewhere (setxattr(2)).
_NO_ATTRIBUTE = (
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EACCES,
    errno.E2BIG,
    errno.ERANGE,
    errno.ENOSPC,
    errno.EINVAL,
)


def new_file(name: bytes, mode: int, fd: int) -> int:
    """Make a file in the directory ``fd`` and open it for writing; raises FileExistsError, OSError."""
    return os.open(name, _NEW, mode, dir_fd=fd)


def finish_file(out: int, mode: int, mtime: int, owner: bytes) -> None:
    """Give a file whose content is written its mode, of which the umask took some, its owner and its time."""
    if mode & (_MASKED | stat.S_ISVTX):
        os.fchmod(out, mode)
    if owner:
        set_owner(out, owner)
    os.utime(out, ns=(mtime, mtime))


def write_data(out: int, reader: TarReader, member: TarMember) -> None:
    """Write a member's data to the new file ``out``, of a sparse one only the pieces that have any.

    Raises UnpackError, OSError.
    """
    if member.pieces is None:
        _write(out, reader, member.size)
        return
    for offset, length in member.pieces:
        os.lseek(out, offset, os.SEEK_SET)
        _write(out, reader, length)
    os.ftruncate(out, member.size)


def _write(out: int, reader: TarReader, size: int) -> None:
    for piece in reader.pieces(size):
        while piece:
            piece = piece[os.write(out, piece) :]


def set_attributes(fd: int, attributes: Mapping[bytes, bytes]) -> None:
    """Set the attributes that a user may set, where the file system has any; raises OSError.

    The others are for the kernel and would need root, or are not meant for a copy.
    """
    for name, value in attributes.items():
        if name.startswith(_USER) and not name.startswith((_OVERLAY, PREFIX)) and b"\0" not in name:
            _set_attribute(fd, name, value)


def set_owner(fd: int, owner: bytes) -> None:
    """Write down whose a file is (``udocker.store.owners``), where the file system can; raises OSError."""
    _set_attribute(fd, ATTRIBUTE, owner)


def remove_owner(fd: int) -> None:
    """Make a file root's again; raises OSError."""
    try:
        os.removexattr(fd, ATTRIBUTE)
    except OSError as error:
        if error.errno not in (*_NO_ATTRIBUTE, errno.ENODATA):
            raise


def _set_attribute(fd: int, name: bytes, value: bytes) -> None:
    try:
        os.setxattr(fd, name, value)
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTE:
            raise


def link_or_copy(source: int, base: bytes, fd: int, name: bytes) -> None:
    """Give the file ``base`` of the directory ``source`` another name, or a copy where that cannot be."""
    try:
        os.link(base, name, src_dir_fd=source, dst_dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        _copy_entry(source, base, fd, name)


def _copy_entry(source: int, base: bytes, fd: int, name: bytes) -> None:
    """A copy in place of a hard link, where the file system has none."""
    info = os.stat(base, dir_fd=source, follow_symlinks=False)
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(base, dir_fd=source), name, dir_fd=fd)
        return
    opened = os.open(base, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    with open(opened, "rb") as original:
        mode = stat.S_IMODE(info.st_mode)
        with open(new_file(name, mode, fd), "wb") as target:
            while block := original.read(_COPY):
                target.write(block)
            os.fchmod(target.fileno(), mode)
            _copy_owner(original.fileno(), target.fileno())
            os.utime(target.fileno(), ns=(info.st_atime_ns, info.st_mtime_ns))


def _copy_owner(source: int, target: int) -> None:
    try:
        owner = os.getxattr(source, ATTRIBUTE)
    except OSError as error:
        if error.errno not in (*_NO_ATTRIBUTE, errno.ENODATA):
            raise
        return  # root's
    set_owner(target, owner)
