"""Files and directories, changed so that nobody ever sees them half done."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys

from udocker.errors import from_os_error
from udocker.system.process import ProcessIdentity, is_mark_of_dead
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Optional

    from _typeshed import StrPath

# The end of a name that unique_name made; the group is its maker's mark.
_UNIQUE = r"([0-9a-f]{12}-[0-9]{1,9}-[0-9]{1,18})-[0-9a-f]{12}\Z"
# What stat(2) says where there is nothing.
_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
# How many directories are open at a time while a tree is deleted.
_REMOVE_DEPTH = 64


def flush_output() -> None:
    """Write what was printed so far; raises StoreError where that cannot be written, as on a full disk."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter tries once more at its end
        raise from_os_error("write", error, "standard output", "write to another place") from error


def is_directory(path: StrPath) -> bool:
    """Whether a directory is there; raises OSError where that cannot be told, as from a disk that fails."""
    return stat.S_ISDIR(_mode(path))


def is_file(path: StrPath) -> bool:
    """Whether a regular file is there; raises OSError as ``is_directory`` does."""
    return stat.S_ISREG(_mode(path))


def is_there(path: StrPath) -> bool:
    """Whether anything is there, links followed; raises OSError as ``is_directory`` does."""
    return _mode(path) != 0


def _mode(path: StrPath) -> int:
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno in _NOTHING:
            return 0
        raise


def forget_absence(path: StrPath) -> None:
    """Let this node's client of a network file system forget that something, which is there, was missing.

    Clients remember missing names for up to a minute, but mkdir(2) is the server's to answer, and that the
    name is taken is news to them.
    """
    try:
        os.mkdir(path)
    except OSError:
        return  # it is there, as it should; or not ours to change, which shows when it is used
    os.rmdir(path)  # removed just now


def is_there_now(path: Path) -> bool:
    """As ``is_there``, by a list of the directory: this node's client may remember that it was missing.

    So it may of the directories above.
    """
    if is_there(path):
        return True
    if not is_there_now(path.parent) or path.name not in os.listdir(path.parent):
        return False
    forget_absence(path)
    return is_there(path)


def unique_name(prefix: str = "") -> str:
    """A name that no other process of any node makes, and that tells who made it."""
    return f"{prefix}{ProcessIdentity.current().mark()}-{os.urandom(6).hex()}"


def maker_of(name: str) -> str:
    """The mark of the process that made a name with ``unique_name``; empty for any other name."""
    match = re.search(_UNIQUE, name)
    return match[1] if match else ""


def discard(path: Path) -> None:
    """Remove a file or a tree under a unique name that is not needed any more.

    What the file system refuses to remove now is left to ``discard_leftovers``.
    """
    try:
        remove_tree(path)
    except OSError:
        return  # nobody looks at it, and a later command clears it away


def discard_leftovers(directory: Path, prefix: str = "") -> None:
    """Remove what processes of this node that have died left under a unique name; no error if they cannot.

    Names are all that is asked: other nodes' and living processes' files stay, and so does what was
    named otherwise, or does not begin with ``prefix``.
    """
    try:
        names = [match for name in os.listdir(directory) if (match := re.search(_UNIQUE, name))]
    except OSError:
        return  # not there, or not ours to clean
    for match in names:
        if match.string.startswith(prefix) and is_mark_of_dead(match[1]):
            try:
                remove_tree(directory / match.string)
            except OSError:
                continue  # somebody else's, in a store that is shared


def is_own(name: str) -> bool:
    """Whether a unique name was made by this process."""
    maker = maker_of(name)
    return bool(maker) and maker == ProcessIdentity.current().mark()


def is_of_dead(name: str) -> bool:
    """Whether a unique name was made by a process that is known to be dead."""
    maker = maker_of(name)
    return bool(maker) and is_mark_of_dead(maker)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable (fsync(2), on directories)."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_file_system(path: Path) -> None:
    """Bring everything written to the file system of ``path`` to the disk (syncfs(2))."""
    import ctypes  # for this function alone

    fd = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
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
            os.fchmod(fd, mode)  # whatever the umask: a store may be shared by those whose umask is 077
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    except BaseException:
        discard(temporary)
        raise


def tree_size(path: StrPath) -> int:
    """Bytes that a tree takes on disk, hard-linked files once; what cannot be read is left out."""
    seen: set[tuple[int, int]] = set()
    total = 0
    waiting = [os.fspath(path)]
    while waiting:
        place = waiting.pop()
        try:
            info = os.lstat(place)
            if stat.S_ISDIR(info.st_mode):
                waiting.extend(entry.path for entry in os.scandir(place))
        except OSError:
            continue  # not ours to read, deleted meanwhile, or deeper than a path can tell
        if (info.st_dev, info.st_ino) not in seen:
            seen.add((info.st_dev, info.st_ino))
            total += info.st_blocks * 512
    return total


def remove_tree(path: Path) -> None:
    """Delete a file or a tree whatever its permissions and depth, following no link; no error if missing."""
    try:
        fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        remove_entry(fd, path.name)
    finally:
        os.close(fd)


def remove_entry(parent: int, name: str) -> None:
    """Delete the entry ``name`` of an open directory as ``remove_tree`` does."""
    _remove(parent, name, None, 0)


def _remove(parent: int, name: str, top: Optional[int], depth: int) -> None:
    """Delete an entry; ``top`` is the directory where ``remove_entry`` began, None for that one itself.

    What lies deep is moved there first: neither the stack nor descriptors last for a tree of any depth.
    """
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent)
            return
        fd = _open_usable(parent, name)
        if top is not None and depth > _REMOVE_DEPTH:
            os.close(fd)
            os.rename(name, unique_name("deep-"), src_dir_fd=parent, dst_dir_fd=top)
            return
    except FileNotFoundError:
        return  # somebody else deletes the same tree
    try:
        while entries := os.listdir(fd):
            for entry in entries:
                _remove(fd, entry, fd if top is None else top, depth + 1)
            if top is not None:
                break
    finally:
        os.close(fd)
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return


def _open_usable(parent: int, name: str) -> int:
    """Open a directory; without all three permissions its owner could not empty it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        fd = os.open(name, flags, dir_fd=parent)
    except PermissionError:
        os.chmod(name, stat.S_IRWXU, dir_fd=parent)
        fd = os.open(name, flags, dir_fd=parent)
    if os.fstat(fd).st_mode & stat.S_IRWXU != stat.S_IRWXU:
        os.fchmod(fd, stat.S_IRWXU)
    return fd
