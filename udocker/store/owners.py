"""Whose a container's file is, where the host cannot tell: all belong to the user who made the container.

An extended attribute of the file itself says so, as engines that emulate root write and read it
(``udocker/native/root``): "UID:GID:MODE:DEVICE", the mode in octal, 0 where the host's is right.  Files of
root's have none; nor have symbolic links, and file systems without attributes.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from functools import lru_cache
from typing import NamedTuple, Optional, Union

ATTRIBUTE = b"user.udocker.owner"
# What begins so is never taken from an archive.
PREFIX = b"user.udocker."
_HIGHEST = 2**32 - 2  # chown(2): the one above is none
# The container's programs may have written what they like: only what is of this form is read.
_FORM = re.compile(rb"(\d{1,10}):(\d{1,10}):([0-7]{1,6}):(\d{1,15})")
_HIGHEST_MAJOR, _HIGHEST_MINOR = 2**12 - 1, 2**20 - 1  # of Linux's devices, and more than an archive can tell
# Beside those for a file system without attributes: no permission to read the file, or to write it.
_NONE = (errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOENT)


class Owner(NamedTuple):
    """Whose a file is, its permissions to the container with the type of a device, and a device's number."""

    uid: int
    gid: int
    mode: int
    device: int


def host_mode(mode: int, is_directory: bool) -> int:
    """The permissions that a file has on the host in place of ``mode``.

    No program lends the caller's rights to others, and he can read, write and search everything, as root.
    """
    own = 0o700 if is_directory or mode & 0o111 else 0o600
    return (mode & 0o1777) | own


@lru_cache(1 << 12)
def owner_text(uid: int, gid: int, mode: int, is_directory: bool) -> bytes:
    """The attribute of a file of these; empty where it needs none."""
    mode &= 0o7777
    kind = stat.S_IFDIR if is_directory else stat.S_IFREG
    kept = 0 if host_mode(mode, is_directory) == mode else kind | mode
    if not (0 <= uid <= _HIGHEST and 0 <= gid <= _HIGHEST):
        uid = gid = 0
    return b"%d:%d:%o:0" % (uid, gid, kept) if uid or gid or kept else b""


def _parse(text: bytes) -> Optional[Owner]:
    """Read an attribute's text; None for what is none of ours."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    found = Owner(int(match[1]), int(match[2]), int(match[3], 8), int(match[4]))
    is_device = os.major(found.device) <= _HIGHEST_MAJOR and os.minor(found.device) <= _HIGHEST_MINOR
    return found if max(found.uid, found.gid) <= _HIGHEST and is_device else None


def read_owner(name: Union[str, bytes], status: os.stat_result) -> Owner:
    """What is written of the file ``name`` whose ``status`` is the host's; root's where there is nothing."""
    mode = status.st_mode
    root = Owner(0, 0, mode, 0)
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return root
    try:
        found = _parse(os.getxattr(name, ATTRIBUTE, follow_symlinks=False))
    except OSError as error:
        if error.errno not in _NONE:
            raise
        return root
    if found is None:
        return root
    if stat.S_ISCHR(found.mode) or stat.S_ISBLK(found.mode):
        is_node = stat.S_ISREG(mode) and status.st_size == 0
        return found if is_node else found._replace(mode=mode, device=0)
    # Permissions that were changed without us are the right ones.
    ours = host_mode(found.mode & 0o7777, stat.S_ISDIR(mode)) == stat.S_IMODE(mode)
    if found.mode == 0 or not ours:
        return found._replace(mode=mode)
    return found._replace(mode=stat.S_IFMT(mode) | (found.mode & 0o7777))
