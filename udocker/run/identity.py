"""Who the program is, from the container's own passwd and group files.

They come from an image: they are read below the container's root, with a bound on their size, and lines
that make no sense are passed over, as the C library does.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping

from udocker.engine.base import Identity
from udocker.errors import StoreCorrupt, UsageError
from udocker.system.rooted import read_in_root
from udocker.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from typing import Optional

    from _typeshed import StrPath

# Ten thousands of users fit, and reading it takes no noticeable time.
SIZE_MAX = 16 * 1024 * 1024
# docker's own bound; the highest number of 32 bits is none (setresuid(2)).
ID_MAX = 2**31 - 1
PASSWD, GROUP = "/etc/passwd", "/etc/group"
# What useradd(8) takes, and what directory services have beside it.
_NEW_NAME = r"[A-Za-z_][A-Za-z0-9_.-]*"


@dataclass(frozen=True)
class _User:
    name: str
    uid: int
    gid: int
    home: str
    known: bool = True


@dataclass(frozen=True)
class AccountFiles:
    """Where users and groups are looked up: below ``root``, but for the files that lie ``elsewhere``.

    ``elsewhere`` are paths of the host by what the container calls them.  ``newcomer`` are the numbers for a
    user whose name is in no file; without them he is refused.
    """

    root: StrPath
    elsewhere: Optional[Mapping[str, str]] = None
    newcomer: Optional[tuple[int, int]] = None

    def has_user(self, uid: int, name: str = "") -> bool:
        """Whether the number, or else the name, has an entry; raises StoreCorrupt."""
        return any(user.uid == uid or (name and user.name == name) for user in self._users())

    def has_group(self, gid: int, name: str = "") -> bool:
        """Whether the number, or else the name, has an entry; raises StoreCorrupt."""
        entries = self._entries(GROUP, 3)
        return any(_id(fields[2]) == gid or (name and fields[0] == name) for fields in entries)

    def has(self, path: str) -> bool:
        """Whether the file is there."""
        return next(self._entries(path, 1), None) is not None

    def identity(self, user: str) -> Identity:
        """Who ``user`` is; see ``find``."""
        return self.find(user)[0]

    def find(self, user: str) -> tuple[Identity, bool]:
        """``user``, written ``name|uid[:group|gid]``; empty means root.  Tells whether there is an entry.

        A number needs no entry: without one its group is 0 and its home ``/``, as in docker.  Raises
        UsageError for an unknown name, StoreCorrupt where the files cannot be read.
        """
        name, colon, group = user.partition(":")
        found = self._user(name or "0")
        if colon and not group:
            raise UsageError(f"user: {user!r}: no group after the colon", "write name|uid[:group|gid]")
        gid = self._group(group) if group else found.gid
        return Identity(found.uid, gid, found.home, found.name), found.known

    def _user(self, wanted: str) -> _User:
        number = _number("user", wanted)
        for user in self._users():
            if wanted == user.name if number is None else number == user.uid:
                return user
        if number is not None:
            return _User("", number, 0, "/", known=False)
        if wanted == "root":
            return _User(wanted, 0, 0, "/", known=False)
        if self.newcomer and re.fullmatch(_NEW_NAME, wanted):
            return _User(wanted, *self.newcomer, "/", known=False)
        raise UsageError(f"user: {wanted!r}: not in the container's {PASSWD}", "give its number instead")

    def _group(self, wanted: str) -> int:
        number = _number("group", wanted)
        if number is not None:
            return number
        for fields in self._entries(GROUP, 3):
            gid = _id(fields[2])
            if fields[0] == wanted and gid is not None:
                return gid
        raise UsageError(f"group: {wanted!r}: not in the container's {GROUP}", "give its number instead")

    def _users(self) -> Iterator[_User]:
        for fields in self._entries(PASSWD, 4):
            uid, gid = _id(fields[2]), _id(fields[3])
            if uid is not None and gid is not None:
                home = fields[5] if len(fields) > 5 and fields[5].startswith("/") else "/"
                yield _User(fields[0], uid, gid, home)

    def _entries(self, path: str, width: int) -> Iterator[list[str]]:
        """The fields of every line that has at least ``width`` of them; none where the file is missing."""
        try:
            data = self._read(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return
            raise StoreCorrupt(f"user: the container's {path}: {error.strerror}") from error
        for line in os.fsdecode(data.replace(b"\0", b"")).split("\n"):
            fields = line.split(":")
            if len(fields) >= width and fields[0]:
                yield fields

    def _read(self, path: str) -> bytes:
        if self.elsewhere and path in self.elsewhere:
            return read_in_root("/", self.elsewhere[path], SIZE_MAX)
        return read_in_root(self.root, path, SIZE_MAX)


def resolve_identity(root: StrPath, user: str) -> Identity:
    """``user`` by the files of the container at ``root``; see ``AccountFiles.find``."""
    return AccountFiles(root).identity(user)


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
