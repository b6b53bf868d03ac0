"""The members of an image archive, as files of a work directory.

An archive is read once, from a file or a pipe.  Its names never become names on this host: members lie under
numbers, and links among them are looked up in the table of members alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Optional, Protocol

from udocker.errors import StoreCorrupt, UnpackError
from udocker.model.digest import Digest
from udocker.store.compression import ReadAhead, open_layer, open_stream
from udocker.store.limits import Budget, Limits, beyond
from udocker.store.tarstream import DIRECTORY, FILE, HARDLINK, SYMLINK, TarMember, TarReader

_COPY = 1 << 20
# An archive of images has a few files for each layer, whatever is in these.
_MAX_MEMBERS = 100_000
_MAX_JSON = 8 << 20
_MAX_LINKS = 8


@dataclass(frozen=True)
class Member:
    """A regular member: ``path`` is where it lies in the work directory, ``size`` is in bytes."""

    name: str
    path: Path
    size: int
    digest: Digest
    limits: Limits = field(default=Limits(), repr=False)

    @cached_property
    def diff_id(self) -> Digest:
        """The digest of the content without its compression; raises UnpackError."""
        return measure(self.path, self.limits)[1]

    def read(self) -> bytes:
        """The content; raises StoreCorrupt where it is too long for a document."""
        if self.size > _MAX_JSON:
            raise StoreCorrupt(f"archive: {self.name!r}: longer than {_MAX_JSON >> 20} MiB")
        return self.path.read_bytes()

    def json(self) -> Any:
        """The content as JSON; raises StoreCorrupt."""
        try:
            return json.loads(self.read())
        except (ValueError, RecursionError):
            raise StoreCorrupt(f"archive: {self.name!r}: not JSON") from None


class _Readable(Protocol):
    def read(self, size: int) -> bytes:
        """Up to so many bytes; none at the end."""
        ...


def measure(path: Path, limits: Optional[Limits] = None) -> tuple[int, Digest]:
    """Size and digest of a layer without its compression; raises UnpackError.

    Of the limits only that of compression counts, and none where they are not given.
    """
    size, hasher = 0, hashlib.sha256()
    with open_layer(path, limits) as stream:
        while block := stream.read(_COPY):
            size += len(block)
            hasher.update(block)
    return size, Digest("sha256", hasher.hexdigest())


class Members:
    """What an archive holds, by name."""

    def __init__(self, work: Path, limits: Limits) -> None:
        self._work = work
        self._limits = limits
        self._files: dict[str, Member] = {}
        self._links: dict[str, str] = {}

    @classmethod
    def read_from(cls, stream: BinaryIO, work: Path, limits: Optional[Limits] = None) -> Members:
        """Read an archive, gzip, zstd or uncompressed, into the empty directory ``work``.

        Raises UnpackError for one that is broken, whose names lead out of it, or that is beyond the limits.
        """
        limits = limits or Limits()
        members = cls(work, limits)
        with open_stream(stream, limits) as plain:
            reader = TarReader(plain, Budget(limits, "archive"))
            for number, member in enumerate(reader):
                if number >= _MAX_MEMBERS:
                    raise UnpackError(f"archive: more than {_MAX_MEMBERS} members", "is this an image?")
                members._add(reader, member, work / str(number))
        return members

    def __contains__(self, name: str) -> bool:
        return name in self._files or name in self._links

    def get(self, name: Any, what: str = "member") -> Member:
        """The member of a name that a document of the archive gives; raises StoreCorrupt."""
        if not isinstance(name, str):
            raise StoreCorrupt(f"archive: {what}: not a name")
        place = name = clean_name(name)
        for _ in range(_MAX_LINKS):
            if place in self._files:
                return self._files[place]
            if place not in self._links:
                break
            place = self._links[place]
        raise StoreCorrupt(f"archive: {what} {name!r}: missing in the archive", "is the file complete?")

    def _add(self, reader: TarReader, member: TarMember, path: Path) -> None:
        name = clean_name(os.fsdecode(member.name), self._limits)
        if member.kind == DIRECTORY or not name:
            return
        self._forget(name)
        link = os.fsdecode(member.link)
        if member.kind == SYMLINK:
            self._links[name] = clean_name(posixpath.join(posixpath.dirname(name), link), self._limits)
        elif member.kind == HARDLINK:
            self._links[name] = clean_name(link, self._limits)
        elif member.kind == FILE and member.pieces is None:
            spooled = spool(reader, name, path, member.size)
            self._files[name] = replace(spooled, limits=self._limits)
        else:
            raise UnpackError(f"archive: {name!r}: not a plain file", "is this an image?")

    def _forget(self, name: str) -> None:
        """A later member of the same name counts."""
        self._links.pop(name, None)
        old = self._files.pop(name, None)
        if old is not None:
            old.path.unlink()


def clean_name(name: str, limits: Optional[Limits] = None) -> str:
    """A member's name without ``.`` components; raises UnpackError for one that leads out of the archive."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part == "..":
            raise UnpackError(f"archive: {name[:200]!r}: the name leads out of the archive")
        elif part not in ("", "."):
            parts.append(part)
    if name.startswith("/"):
        hint = "an image's archive has none: use udocker import for a tree of files"
        raise UnpackError(f"archive: {name[:200]!r}: an absolute name", hint)
    if len(name) > (limits or Limits()).name:
        raise beyond(f"{name[:200]!r}: a name of {len(name)} characters", "NAME", "archive")
    return "/".join(parts)


def spool(source: _Readable, name: str, path: Optional[Path], size: Optional[int] = None) -> Member:
    """Copy ``size`` bytes, or all there are, to the new file ``path``; with None they are only measured.

    Raises UnpackError where ``source`` ends too early.
    """
    hasher, at = hashlib.sha256(), 0
    with path.open("xb") if path else nullcontext() as target:
        while size is None or at < size:
            block = source.read(_COPY if size is None else min(size - at, _COPY))
            if not block and size is not None:
                raise UnpackError(f"archive: {name!r}: the archive ends in the middle of it")
            if not block:
                break
            if target is not None:
                target.write(block)
            hasher.update(block)
            at += len(block)
    return Member(name, path or Path(), at, Digest("sha256", hasher.hexdigest()))


def check_tree(path: Path, limits: Optional[Limits] = None) -> Digest:
    """The digest of the plain tar of an archive of files; raises UnpackError where it is none."""
    hasher = hashlib.sha256()
    limits = limits or Limits()
    with open_layer(path, limits) as stream:
        hashed = _Hashed(stream, hasher)
        for _ in TarReader(hashed, Budget(limits, "archive")):
            pass
        if not hashed.size:
            raise UnpackError("archive: empty: not a tar archive")
        while hashed.chunk():
            pass  # what follows the end of the archive belongs to the layer's digest
    return Digest("sha256", hasher.hexdigest())


class _Hashed:
    """A stream that is hashed as it is read."""

    def __init__(self, stream: ReadAhead, hasher: hashlib._Hash) -> None:
        self._stream = stream
        self._hasher = hasher
        self.size = 0

    def chunk(self) -> bytes:
        """The next bytes, as they come."""
        block = self._stream.chunk()
        self._hasher.update(block)
        self.size += len(block)
        return block

    def skip(self, size: int) -> int:
        """Nothing can be left out of a digest."""
        return 0
