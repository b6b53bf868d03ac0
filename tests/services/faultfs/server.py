"""The process of one mount.

python -m tests.services.faultfs.server BACKING MOUNT CONTROL CACHE DELAY [UID GID]

``CONTROL`` is the descriptor of a socket: a line of JSON for each request, and an answer for each.  The
process ends when its mount or the socket does.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import socket
import stat
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Callable, Optional

from mfusepy import FUSE, Operations

_STATS = ("mode", "nlink", "uid", "gid", "size", "ino", "dev", "blocks", "rdev", "blksize")
# What is not an operation on metadata.
_CONTENT = ("read", "write")
_TIMES = ("atime", "mtime", "ctime")

# A directory's entry: its name, what is known of it, 0 for the place in the stream.
Entry = tuple[str, dict[str, int], int]


class Faults:
    """The fault in force, and what was met since it is; threads of the file system share it."""

    def __init__(self, delay: float) -> None:
        self._lock = threading.Lock()
        self._delay = delay
        self._replace(None)

    def _replace(self, fault: Optional[dict[str, Any]]) -> None:
        self._fault = fault
        self._operations: Counter[str] = Counter()
        self._matched = self._failed = 0
        self._first_failed = ""

    def serve(self, control: socket.socket) -> None:
        """Answer requests until the other side closes."""
        with control.makefile("rw", encoding="utf-8") as stream:
            for line in stream:
                request = json.loads(line)
                with self._lock:
                    answer = self._met()
                    if request != "met":
                        self._replace(request)
                stream.write(json.dumps(answer) + "\n")
                stream.flush()
        os._exit(0)  # whoever mounted it is gone

    def _met(self) -> dict[str, Any]:
        return {
            "operations": dict(self._operations),
            "matched": self._matched,
            "failed": self._failed,
            "first_failed": self._first_failed,
        }

    def meet(self, kind: str, path: str) -> None:
        """Count an operation; raises OSError where it is to fail."""
        if self._delay and kind not in _CONTENT:
            time.sleep(self._delay)
        with self._lock:
            self._operations[kind] += 1
            fault = self._fault
            if fault is None or kind not in fault["kinds"] or not path.startswith(fault["below"]):
                return
            self._matched += 1
            behind = self._matched - fault["first"]
            if behind < 0 or (fault["count"] is not None and behind >= fault["count"]):
                return
            if fault["error"]:
                self._failed += 1
                self._first_failed = self._first_failed or f"{kind} {path}"
        time.sleep(fault["delay"])
        if fault["error"]:
            raise OSError(fault["error"], os.strerror(fault["error"]))


def _met(act: Callable[..., Any]) -> Callable[..., Any]:
    """An operation that is counted, and may fail, under its own name."""
    kind = act.__name__

    @functools.wraps(act)  # mfusepy looks at the signature
    def operation(self: PassThrough, path: str, *arguments: Any) -> Any:
        self.faults.meet(kind, path)
        return act(self, path, *arguments)

    return operation


class PassThrough(Operations):
    """Every operation as the same one below ``backing``.

    A file that is removed while it is open gets a hidden name until it is closed, as on NFS.
    """

    use_ns = True

    def __init__(self, backing: str, faults: Faults) -> None:
        self.faults = faults
        self._backing = backing

    def _place(self, path: str) -> str:
        return self._backing + path

    @_met
    def getattr(self, path: str, fh: Optional[int] = None) -> dict[str, Any]:
        status = os.lstat(self._place(path))
        found = {f"st_{name}": getattr(status, f"st_{name}") for name in _STATS}
        return {**found, **{f"st_{name}": getattr(status, f"st_{name}_ns") for name in _TIMES}}

    @_met
    def readlink(self, path: str) -> str:
        return os.readlink(self._place(path))

    @_met
    def opendir(self, path: str) -> int:
        return os.open(self._place(path), os.O_RDONLY | os.O_DIRECTORY)

    @_met
    def readdir(self, path: str, fh: int) -> Iterator[Entry]:
        with os.scandir(fh) as entries:
            found = [(entry.name, {"st_ino": entry.inode(), "st_mode": _kind(entry)}, 0) for entry in entries]
        own = {"st_ino": os.fstat(fh).st_ino, "st_mode": stat.S_IFDIR}
        return iter([(".", own, 0), ("..", own, 0), *found])

    @_met
    def mknod(self, path: str, mode: int, dev: int) -> None:
        os.mknod(self._place(path), mode, dev)

    @_met
    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._place(path), mode)

    @_met
    def unlink(self, path: str) -> None:
        os.unlink(self._place(path))

    @_met
    def rmdir(self, path: str) -> None:
        os.rmdir(self._place(path))

    @_met
    def symlink(self, target: str, source: str) -> None:
        os.symlink(source, self._place(target))

    @_met
    def rename(self, old: str, new: str) -> None:
        os.rename(self._place(old), self._place(new))

    @_met
    def link(self, target: str, source: str) -> None:
        os.link(self._place(source), self._place(target), follow_symlinks=False)

    @_met
    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self._place(path), mode)

    @_met
    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(self._place(path), uid, gid, follow_symlinks=False)

    @_met
    def truncate(self, path: str, length: int, fh: Optional[int] = None) -> None:
        os.truncate(self._place(path), length)

    @_met
    def utimens(self, path: str, times: Optional[tuple[int, int]] = None) -> None:
        os.utime(self._place(path), ns=times, follow_symlinks=False)

    @_met
    def open(self, path: str, flags: int) -> int:
        return os.open(self._place(path), flags & ~os.O_DIRECT)

    @_met
    def create(self, path: str, mode: int, flags: int) -> int:
        return os.open(self._place(path), flags & ~os.O_DIRECT | os.O_CREAT, mode)

    @_met
    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    @_met
    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def flush(self, path: str, fh: int) -> None:
        """A close(2), which tells of what could not be written before."""
        if fcntl.fcntl(fh, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
            self.faults.meet("flush", path)

    @_met
    def fsync(self, path: str, datasync: int, fh: int) -> None:
        os.fsync(fh)

    @_met
    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        os.fsync(fh)

    def release(self, path: str, fh: int) -> None:
        os.close(fh)

    releasedir = release

    def statfs(self, path: str) -> dict[str, int]:
        status = os.statvfs(self._place(path))
        names = (
            "bavail",
            "bfree",
            "blocks",
            "bsize",
            "favail",
            "ffree",
            "files",
            "flag",
            "frsize",
            "namemax",
        )
        return {f"f_{name}": getattr(status, f"f_{name}") for name in names}


def _kind(entry: os.DirEntry[str]) -> int:
    if entry.is_symlink():
        return stat.S_IFLNK
    return stat.S_IFDIR if entry.is_dir(follow_symlinks=False) else stat.S_IFREG


def main() -> None:
    backing, place, control, cache, delay, *identity = sys.argv[1:]
    if identity:
        user, group = map(int, identity)
        os.setgroups([group])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
    os.umask(0)  # the caller's is in the modes already
    faults = Faults(float(delay))
    threading.Thread(target=faults.serve, args=(socket.socket(fileno=int(control)),), daemon=True).start()
    options = {} if place.startswith("/dev/fd/") else {"default_permissions": True, "fsname": "faultfs"}
    timeouts = {f"{name}_timeout": float(cache) for name in ("attr", "entry", "negative")}
    FUSE(
        PassThrough(backing, faults),
        place,
        foreground=True,
        use_ino=True,
        **timeouts,
        **options,
    )


if __name__ == "__main__":
    main()
