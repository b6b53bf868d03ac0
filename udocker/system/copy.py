"""A copy of a directory tree: modes, times, links, hard links and holes as they were."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional, Union

from udocker.system.files import remove_entry, unique_name

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 1 << 20
# Of a deep tree only so many directories are open at a time, each twice: here and there.
_OPEN_LEVELS = 64
# ioctl_ficlone(2).  Where the number is another one (powerpc) it is unknown, and files are copied.
_FICLONE = 0x40049409
_NO_REFLINK = (
    errno.EOPNOTSUPP,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.EPERM,
    errno.ETXTBSY,
)
_NO_ATTRIBUTE = (errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENODATA)


def copy_tree(source: Path, target: Path, skip: Collection[str] = ()) -> None:
    """Copy the directory ``source`` to ``target``, which must not exist, without the entries ``skip``.

    No file is shared: content is cloned where the file system can (reflink), else copied without its
    holes.  Owners are kept where that is allowed.  Sockets and devices are left out, and what is deleted
    meanwhile.  Raises OSError, and leaves then what it has made.
    """
    _TreeCopy().run(source, target, skip)


@dataclass
class _Level:
    """A directory that is being copied: ``source`` and ``target`` are descriptors, -1 while closed."""

    info: os.stat_result
    place: tuple[int, int] = (-1, -1)
    source: int = -1
    target: int = -1
    directories: list[str] = field(default_factory=list)

    @property
    def is_locked(self) -> bool:
        """Whether its owner had to be given permission to read it."""
        return _is_locked(self.info, stat.S_IRUSR | stat.S_IXUSR)

    def close(self) -> None:
        for fd in (self.source, self.target):
            if fd >= 0:
                os.close(fd)
        self.source = self.target = -1

    def leave(self) -> None:
        """Give the source its mode back, and close."""
        if self.is_locked and self.source >= 0:
            os.fchmod(self.source, stat.S_IMODE(self.info.st_mode))
        self.close()


class _TreeCopy:
    """One copy of one tree.  The stack of levels is its own: trees are deeper than Python's."""

    def __init__(self) -> None:
        self._levels: list[_Level] = []
        self._reflink = True
        # Files with several names: one of the copy's is kept in the directory ``_stash`` until the end.
        self._linked: dict[tuple[int, int], str] = {}
        self._stash_name = unique_name(".links-")
        self._stash: Optional[int] = None

    def run(self, source: Path, target: Path, skip: Collection[str]) -> None:
        os.mkdir(target, 0o700)
        try:
            self._enter(None, os.fspath(source), os.fspath(target), skip)
            while self._levels:
                level = self._levels[-1]
                if level.directories:
                    name = level.directories.pop()
                    self._descend(level, name)
                else:
                    self._ascend()
        finally:
            for level in reversed(self._levels):
                level.leave()
            if self._stash is not None:
                os.close(self._stash)

    def _descend(self, level: _Level, name: str) -> None:
        os.mkdir(name, 0o700, dir_fd=level.target)
        try:
            self._enter(level, name, name, ())
        except FileNotFoundError:
            self._levels.pop().leave()
            os.rmdir(name, dir_fd=level.target)  # the source was deleted before it could be opened
            return
        if len(self._levels) > _OPEN_LEVELS:
            far = self._levels[-_OPEN_LEVELS]
            if not far.is_locked and far is not self._levels[0]:
                far.close()

    def _enter(self, above: Optional[_Level], source: str, target: str, skip: Collection[str]) -> None:
        """Open a directory, copy its files, note its directories."""
        source_dir = above.source if above else None
        level = _Level(os.stat(source, dir_fd=source_dir, follow_symlinks=False))
        self._levels.append(level)
        if level.is_locked:
            os.chmod(source, level.info.st_mode | stat.S_IRWXU, dir_fd=source_dir)
        level.source = os.open(source, _READ | os.O_DIRECTORY, dir_fd=source_dir)
        level.target = os.open(target, _READ | os.O_DIRECTORY, dir_fd=above.target if above else None)
        level.place = _place(os.fstat(level.target))
        for name in os.listdir(level.source):
            if name not in skip and self._copy(level, name):
                level.directories.append(name)

    def _ascend(self) -> None:
        """Finish the deepest directory, whose content is there, and go back to the one above."""
        level = self._levels[-1]
        above = self._levels[-2] if len(self._levels) > 1 else None
        if above is None and self._stash is not None:
            remove_entry(level.target, self._stash_name)
        elif above is not None and above.source < 0:
            above.source = _open_above(level.source, _place(above.info))
            above.target = _open_above(level.target, above.place)
        _finish(level.source, level.target, level.info)
        self._levels.pop().leave()

    def _copy(self, level: _Level, name: str) -> bool:
        """Copy one entry; returns True for a directory, whose turn comes later."""
        try:
            info = os.stat(name, dir_fd=level.source, follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode):
                return True
            known = self._linked.get(_place(info)) if info.st_nlink > 1 else None
            if known is not None:
                os.link(known, name, src_dir_fd=self._stash, dst_dir_fd=level.target, follow_symlinks=False)
            elif self._copy_new(level, name, info) and info.st_nlink > 1:
                self._keep(level, name, info)
        except FileNotFoundError:
            pass  # deleted meanwhile: a copy of what is in use is never that of one moment
        return False

    def _copy_new(self, level: _Level, name: str, info: os.stat_result) -> bool:
        """Copy what is no directory; returns whether it is of a kind that can be copied."""
        if stat.S_ISREG(info.st_mode):
            self._copy_file(level, name, info)
        elif stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=level.source), name, dir_fd=level.target)
            _give(name, info, level.target)
            times = (info.st_atime_ns, info.st_mtime_ns)
            os.utime(name, ns=times, dir_fd=level.target, follow_symlinks=False)
        elif stat.S_ISFIFO(info.st_mode):
            os.mkfifo(name, 0o600, dir_fd=level.target)
            _give(name, info, level.target)
            os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=level.target)
            os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=level.target)
        else:
            return False
        return True

    def _keep(self, level: _Level, name: str, info: os.stat_result) -> None:
        """Keep another name of a new file, so that it can be linked to from any depth."""
        if self._stash is None:
            top = self._levels[0].target
            os.mkdir(self._stash_name, 0o700, dir_fd=top)
            self._stash = os.open(self._stash_name, _READ | os.O_DIRECTORY, dir_fd=top)
        kept = str(len(self._linked))
        os.link(name, kept, src_dir_fd=level.target, dst_dir_fd=self._stash, follow_symlinks=False)
        self._linked[_place(info)] = kept

    def _copy_file(self, level: _Level, name: str, info: os.stat_result) -> None:
        locked = _is_locked(info, stat.S_IRUSR)
        if locked:
            os.chmod(name, info.st_mode | stat.S_IRUSR, dir_fd=level.source)
        source = os.open(name, _READ | os.O_NONBLOCK, dir_fd=level.source)
        try:
            if locked:
                os.fchmod(source, stat.S_IMODE(info.st_mode))
            target = os.open(name, _WRITE, 0o600, dir_fd=level.target)
            try:
                self._copy_content(source, target)
                _finish(source, target, info)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _copy_content(self, source: int, target: int) -> None:
        info = os.fstat(source)
        if info.st_size and self._reflink:
            try:
                fcntl.ioctl(target, _FICLONE, source)
                return
            except OSError as error:
                if error.errno not in _NO_REFLINK:
                    raise
                self._reflink = False  # what this file system refuses once, it need not be asked again
        for start, end in _extents(source, info):
            while start < end:
                data = os.pread(source, min(_BLOCK, end - start), start)
                if not data:
                    break  # cut short meanwhile
                start += os.pwrite(target, data, start)
        os.ftruncate(target, info.st_size)


def _extents(fd: int, info: os.stat_result) -> Iterator[tuple[int, int]]:
    """The parts of a file that hold data, as start and end (lseek(2), SEEK_DATA)."""
    end = 0
    if info.st_blocks * 512 >= info.st_size:
        yield 0, info.st_size
        return
    while end < info.st_size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # a hole up to the end
            if error.errno != errno.EINVAL:
                raise
            start, end = end, info.st_size  # a file system that does not tell
        yield start, min(end, info.st_size)


def _place(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino


def _is_locked(info: os.stat_result, needed: int) -> bool:
    """Whether a permission is missing that we, as the owner, can give ourselves.

    Programs in a container may work as its root, for whom permissions don't count.
    """
    user = os.geteuid()
    return user != 0 and info.st_uid == user and info.st_mode & needed != needed


def _open_above(fd: int, place: tuple[int, int]) -> int:
    """Open the directory that ``fd`` lies in again; ESTALE where it is no longer the same one."""
    above = os.open("..", _READ | os.O_DIRECTORY, dir_fd=fd)
    if _place(os.fstat(above)) != place:
        os.close(above)
        raise OSError(errno.ESTALE, "the tree was moved while it was copied")
    return above


def _finish(source: int, target: int, info: os.stat_result) -> None:
    """Give a complete file or directory what its original has beside its content."""
    for name in _attributes(source):
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTE:  # those are attributes that only root may set or read
                raise
    _give(target, info)
    os.fchmod(target, stat.S_IMODE(info.st_mode))
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))


def _attributes(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTE:
            raise
        return []  # a file system without them


def _give(target: Union[int, str], info: os.stat_result, directory: Optional[int] = None) -> None:
    """Keep the owner; who may not give files away keeps the copy."""
    if (info.st_uid, info.st_gid) == (os.geteuid(), os.getegid()):
        return
    try:
        if isinstance(target, int):
            os.fchown(target, info.st_uid, info.st_gid)
        else:
            os.chown(target, info.st_uid, info.st_gid, dir_fd=directory, follow_symlinks=False)
    except PermissionError:
        return  # another user's file that we could read: the copy is ours
