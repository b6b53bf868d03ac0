"""The members of an image archive, as files of a work directory.

An archive is read once, from a file or a pipe.  Its names never become names on this host: members lie under
numbers, and links among them are looked up in the table of members alone.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import tarfile
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, BinaryIO, Optional, cast

from udocker.errors import StoreCorrupt, UnpackError
from udocker.model.digest import Digest
from udocker.store.compression import ReadAhead, open_layer, open_stream
from udocker.store.tarstream import BAD_ARCHIVE, tar_members

_COPY = 1 << 20
_MAX_MEMBERS = 100_000
_MAX_NAME = 4096  # PATH_MAX of Linux
_MAX_JSON = 8 << 20
_MAX_LINKS = 8


@dataclass(frozen=True)
class Member:
    """A regular member: ``path`` is where it lies in the work directory, ``size`` is in bytes."""

    name: str
    path: Path
    size: int
    digest: Digest

    @cached_property
    def diff_id(self) -> Digest:
        """The digest of the content without its compression; raises UnpackError."""
        return measure(self.path)[1]

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


def measure(path: Path) -> tuple[int, Digest]:
    """Size and digest of a layer without its compression; raises UnpackError."""
    size, hasher = 0, hashlib.sha256()
    with open_layer(path) as stream:
        while block := stream.read(_COPY):
            size += len(block)
            hasher.update(block)
    return size, Digest("sha256", hasher.hexdigest())


class Members:
    """What an archive holds, by name."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._files: dict[str, Member] = {}
        self._links: dict[str, str] = {}

    @classmethod
    def read_from(cls, stream: BinaryIO, work: Path) -> Members:
        """Read an archive, gzip, zstd or uncompressed, into the empty directory ``work``.

        Raises UnpackError for one that is broken or whose names lead out of it.
        """
        members = cls(work)
        try:
            with open_stream(stream) as plain:
                for number, (archive, info) in enumerate(tar_members(plain)):
                    if number >= _MAX_MEMBERS:
                        raise UnpackError(f"archive: more than {_MAX_MEMBERS} members")
                    members._add(archive, info, work / str(number))
        except BAD_ARCHIVE as error:
            raise UnpackError(f"archive: not a whole tar archive: {error}") from error
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

    def _add(self, archive: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> None:
        name = clean_name(info.name)
        if info.isdir() or not name:
            return
        self._forget(name)
        if info.issym():
            self._links[name] = clean_name(posixpath.join(posixpath.dirname(name), info.linkname))
        elif info.islnk():
            self._links[name] = clean_name(info.linkname)
        elif info.isreg() and not info.issparse():
            source = cast(IO[bytes], archive.extractfile(info))
            self._files[name] = spool(source, name, path, info.size)
        else:
            raise UnpackError(f"archive: {name!r}: not a plain file", "is this an image?")

    def _forget(self, name: str) -> None:
        """A later member of the same name counts."""
        self._links.pop(name, None)
        old = self._files.pop(name, None)
        if old is not None:
            old.path.unlink()


def clean_name(name: str) -> str:
    """A member's name without ``.`` components; raises UnpackError for one that leads out of the archive."""
    parts: list[str] = []
    for part in name.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part == "..":
            raise UnpackError(f"archive: {name[:200]!r}: the name leads out of the archive")
        elif part not in ("", "."):
            parts.append(part)
    if name.startswith("/") or len(name) > _MAX_NAME:
        raise UnpackError(f"archive: {name[:200]!r}: absolute or too long")
    return "/".join(parts)


def spool(source: IO[bytes], name: str, path: Optional[Path], size: Optional[int] = None) -> Member:
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


def check_tree(path: Path) -> Digest:
    """The digest of the plain tar of an archive of files; raises UnpackError where it is none."""
    hasher = hashlib.sha256()
    try:
        with open_layer(path) as stream:
            hashed = _Hashed(stream, hasher)
            for _ in tar_members(hashed):
                pass
            while hashed.read(_COPY):
                pass  # what follows the end of the archive belongs to the layer's digest
    except BAD_ARCHIVE as error:
        raise UnpackError(f"archive: not a whole tar archive: {error}") from error
    return Digest("sha256", hasher.hexdigest())


class _Hashed:
    """A stream that is hashed as it is read."""

    def __init__(self, stream: ReadAhead, hasher: hashlib._Hash) -> None:
        self._stream = stream
        self._hasher = hasher

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._hasher.update(block)
        return block
