"""A file system that passes everything to a directory, and fails, waits and counts as it is told.

::

    with mounted(user, backing, mount_point) as disk:
        disk.set(Fault(errno.ENOSPC, WRITING, first=3))      # the third such operation and all after it
        ...                                                  # the user's programs meet it below mount_point
        assert disk.clear().failed > 0

Each mount is a process of its own with its own caches and locks, as a node of a cluster is: mounting
one ``backing`` directory several times, with ``cache`` seconds, gives nodes that see each other's
changes late and whose flock(2) is local.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.services.needs import is_root, need_command
from tests.services.users import User
from tests.services.waiting import wait_until

# Kinds of operations, as the kernel asks a file system for them (fuse(4)).
READING = ("getattr", "open", "opendir", "read", "readdir", "readlink")
SPACE = ("create", "link", "mkdir", "mknod", "rename", "symlink", "write", "fsync", "flush", "truncate")
WRITING = (*SPACE, "chmod", "fsyncdir", "rmdir", "unlink", "utimens")
EVERY = (*READING, *WRITING)
CONTENT = ("read", "write")  # every other kind is one on metadata

_CHECKOUT = Path(__file__).resolve().parents[3]
_MS_NOSUID, _MS_NODEV, _MNT_DETACH = 2, 4, 2  # mount(2), umount(2)


@dataclass(frozen=True)
class Fault:
    """Operations of ``kinds`` wait for ``delay`` seconds, and then fail with ``error``, if that is not 0.

    It begins with the ``first`` such operation after it is set and lasts for ``count``, or for good.  With
    ``below`` only paths count that begin so, seen from the mount's root.
    """

    error: int = 0
    kinds: tuple[str, ...] = EVERY
    first: int = 1
    count: Optional[int] = None
    delay: float = 0
    below: str = "/"


@dataclass(frozen=True)
class Met:
    """What came since the last ``set`` or ``clear``: operations by kind, of the fault's kinds, failed."""

    operations: dict[str, int] = field(default_factory=dict)
    matched: int = 0
    failed: int = 0
    first_failed: str = ""

    @property
    def metadata(self) -> int:
        """How many operations on metadata there were."""
        return sum(count for kind, count in self.operations.items() if kind not in CONTENT)


class FaultDisk:
    """A mounted file system, by the socket to its process."""

    def __init__(self, path: Path, control: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self.path = path
        self._process = process
        self._stream = control.makefile("rw", encoding="utf-8")

    def set(self, fault: Fault) -> Met:
        """Replace the fault; what was met before."""
        return self._ask(vars(fault))

    def clear(self) -> Met:
        """No fault any more; what was met before."""
        return self._ask(None)

    def met(self) -> Met:
        """What was met until now, without a change."""
        return self._ask("met")

    def lose(self) -> None:
        """Let the mount be lost: whatever is asked of it from now on fails with ENOTCONN."""
        self._process.kill()
        self._process.wait()

    def _ask(self, request: Any) -> Met:
        self._stream.write(json.dumps(request) + "\n")
        self._stream.flush()
        answer = self._stream.readline()
        assert answer, "faultfs: its process has ended"
        return Met(**json.loads(answer))


@contextmanager
def mounted(
    user: User, backing: Path, mount_point: Path, cache: float = 0, delay: float = 0
) -> Iterator[FaultDisk]:
    """Show ``backing`` at ``mount_point`` with ``user``'s rights.

    The kernel keeps names and attributes for ``cache`` seconds, also that there is no such name.  Each
    operation on metadata takes ``delay`` seconds.
    """
    need_command("fusermount3", "fuse3")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs /dev/fuse: modprobe fuse, and in a container --device /dev/fuse")
    ours, its = socket.socketpair()
    with ours, its:
        process = _start(user, backing, mount_point, (cache, delay), its)
        its.close()
        disk = FaultDisk(mount_point, ours, process)
        try:
            wait_until(lambda: _is_mounted(process, mount_point), f"faultfs on {mount_point}", every=0.01)
            yield disk
        finally:
            _unmount(mount_point)
            ours.shutdown(socket.SHUT_RDWR)
            process.wait(timeout=20)


def _start(
    user: User, backing: Path, mount_point: Path, times: tuple[float, float], control: socket.socket
) -> subprocess.Popen[bytes]:
    """The process; as root we mount for it, because it has the user's rights from the start."""
    device = os.open("/dev/fuse", os.O_RDWR) if is_root() else -1
    place = str(mount_point)
    kept = [control.fileno()]
    if device >= 0:
        options = f"fd={device},rootmode=40000,user_id={user.uid},group_id={user.gid}"
        _mount(mount_point, f"{options},allow_other,default_permissions")
        place, kept = f"/dev/fd/{device}", [*kept, device]
    command = [sys.executable, "-m", "tests.services.faultfs.server", str(backing), place]
    identity = [str(user.uid), str(user.gid)] if is_root() else []
    try:
        return subprocess.Popen(
            [*command, str(control.fileno()), *map(str, times), *identity],
            cwd=_CHECKOUT,
            pass_fds=kept,
            stdin=subprocess.DEVNULL,
        )
    finally:
        if device >= 0:
            os.close(device)


def _mount(path: Path, options: str) -> None:
    flags = _MS_NOSUID | _MS_NODEV
    if ctypes.CDLL(None, use_errno=True).mount(
        b"faultfs", os.fsencode(path), b"fuse.faultfs", ctypes.c_ulong(flags), options.encode()
    ):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))


def _unmount(path: Path) -> None:
    if is_root():
        ctypes.CDLL(None).umount2(os.fsencode(path), _MNT_DETACH)
    else:
        subprocess.run(["fusermount3", "-u", "-z", path], check=False, stderr=subprocess.DEVNULL)


def _is_mounted(process: subprocess.Popen[bytes], path: Path) -> bool:
    assert process.poll() is None, f"faultfs: ended with {process.returncode}"
    try:
        os.statvfs(path)
    except OSError:
        return False
    return os.path.ismount(path)
