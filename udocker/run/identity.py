"""Who the program is, from the container's own passwd and group files.

They come from an image: they are read below the container's root, with a bound on their size, and lines
that make no sense are passed over, as the C library does.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from udocker.engine.base import Identity
from udocker.errors import StoreCorrupt, UsageError
from udocker.system.rooted import read_in_root

# Ten thousands of users fit, and reading it takes no noticeable time.
SIZE_MAX = 16 * 1024 * 1024
# docker's own bound; the highest number of 32 bits is none (setresuid(2)).
ID_MAX = 2**31 - 1


@dataclass(frozen=True)
class _User:
    name: str
    uid: int
    gid: int
    home: str


def resolve_identity(root: Path, user: str) -> Identity:
    """``user``, written ``name|uid[:group|gid]``, in the container at ``root``; empty means root.

    A number needs no entry: without one its group is 0 and its home ``/``, as in docker.  Raises
    UsageError for an unknown name, StoreCorrupt where the files cannot be read.
    """
    name, colon, group = user.partition(":")
    found = _user(root, name or "0")
    if colon and not group:
        raise UsageError(f"user: {user!r}: no group after the colon", "write name|uid[:group|gid]")
    gid = _group(root, group) if group else found.gid
    return Identity(found.uid, gid, found.home, found.name)


def _user(root: Path, wanted: str) -> _User:
    number = _number("user", wanted)
    for user in _users(root):
        if wanted == user.name if number is None else number == user.uid:
            return user
    if number is None:
        raise UsageError(f"user: {wanted!r}: not in the container's /etc/passwd", "give its number instead")
    return _User("", number, 0, "/")


def _group(root: Path, wanted: str) -> int:
    number = _number("group", wanted)
    if number is not None:
        return number
    for fields in _entries(root, "/etc/group", 3):
        gid = _id(fields[2])
        if fields[0] == wanted and gid is not None:
            return gid
    raise UsageError(f"group: {wanted!r}: not in the container's /etc/group", "give its number instead")


def _users(root: Path) -> Iterator[_User]:
    for fields in _entries(root, "/etc/passwd", 4):
        uid, gid = _id(fields[2]), _id(fields[3])
        if uid is not None and gid is not None:
            home = fields[5] if len(fields) > 5 and fields[5].startswith("/") else "/"
            yield _User(fields[0], uid, gid, home)


def _entries(root: Path, path: str, width: int) -> Iterator[list[str]]:
    """The fields of every line that has at least ``width`` of them; none where the file is missing."""
    try:
        data = read_in_root(root, path, SIZE_MAX)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return
        raise StoreCorrupt(f"user: the container's {path}: {error.strerror}") from error
    for line in os.fsdecode(data.replace(b"\0", b"")).split("\n"):
        fields = line.split(":")
        if len(fields) >= width and fields[0]:
            yield fields


def _number(what: str, text: str) -> Optional[int]:
    if not (text.isascii() and text.isdigit()):
        return None
    value = _id(text)
    if value is None:
        raise UsageError(f"{what}: {text}: out of range", f"the highest number is {ID_MAX}")
    return value


def _id(text: str) -> Optional[int]:
    """A user's or group's number.  The length is bounded first: int() takes long for a megabyte of digits."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        return None
    value = int(text)
    return value if value <= ID_MAX else None
