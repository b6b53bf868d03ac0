"""Tar streams that may hold anything, read once, a member at a time.

Written for speed, since it is what unpacking spends its time in, and so that everything that is wrong is an
error: tarfile takes a damaged header for the end of the archive.  An archive may lack the zeros at its end,
as those of some builders do, but it must not end within a member's header or data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional, Protocol

from udocker.errors import UnpackError
from udocker.store import sparse
from udocker.store.limits import Budget
from udocker.store.tarheader import (
    BLOCK,
    BadHeader,
    Header,
    parse_header,
    pax_owner,
    pax_records,
    pax_size,
    pax_time,
)

_ZEROS = bytes(BLOCK)
# A name has at most 4096 bytes and an extended attribute 64 KiB (path_resolution(7), xattr(7)).
_MAX_HEADER = 1 << 20
_XATTR = b"SCHILY.xattr."
_KNOWN = (b"path", b"linkpath", b"size", b"mtime", b"uid", b"gid")
_PREFIXES = (_XATTR, sparse.KEYS)
_REPEATED = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")

# Types of members (POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").
FILE, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO, LABEL = (
    b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"V",
)  # fmt: skip
_TYPES = (FILE, HARDLINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO, LABEL)
_OLD_FILE, _SPARSE, _LISTED = b"\0", b"S", b"D"
_ALIASES = {_OLD_FILE: FILE, b"7": FILE, _SPARSE: FILE, _LISTED: DIRECTORY}
# The sizes of all others mean nothing: no data follows them.
_WITH_DATA = (FILE, _OLD_FILE, b"7", _SPARSE, _LISTED, LABEL)
# Those that only tell of the next one.
_EXTENDED, _SOLARIS, _GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"X", b"g", b"L", b"K"
_DESCRIBING = (_EXTENDED, _SOLARIS, _GLOBAL, _LONG_NAME, _LONG_LINK)


class Chunks(Protocol):
    """Where an archive comes from."""

    def chunk(self) -> bytes:
        """The next bytes, as many as are at hand; none at the end."""
        ...

    def skip(self, size: int) -> int:
        """Leave out what comes next, up to ``size`` bytes, where it need not be read; returns how many."""
        ...


class TarMember:
    """One member: ``size`` is that of the file in bytes, ``mtime`` in nanoseconds, names are as written.

    ``pieces`` says of a sparse file where its data belongs, as (offset, length); of any other it is None.
    """

    __slots__ = ("gid", "kind", "link", "mode", "mtime", "name", "pieces", "size", "uid", "xattrs")

    def __init__(self, header: Header) -> None:
        self.name, self.kind, self.mode, self.size, self.mtime, self.link, self.uid, self.gid = header
        self.pieces: Optional[sparse.Map] = None
        self.xattrs: Optional[dict[bytes, bytes]] = None


class _Description:
    """What the members before one say about it."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.repeated: list[tuple[bytes, bytes]] = []
        self.name = b""
        self.link = b""
        self.given = False


class TarReader:
    """The members of a stream.  ``budget`` is charged for each; every method raises UnpackError."""

    def __init__(self, source: Chunks, budget: Budget) -> None:
        self._source = source
        self._budget = budget
        self._chunk = b""
        self._at = 0  # in the chunk
        self._before = 0  # bytes in earlier chunks
        self._left = 0  # of the present member's data
        self._padding = 0  # after it
        self._global: dict[bytes, bytes] = {}

    def __iter__(self) -> Iterator[TarMember]:
        while True:
            member = self.next_member()
            if member is None:
                return
            yield member

    def next_member(self) -> Optional[TarMember]:
        """The next member, whose data can then be read; None at the end."""
        try:
            if self._left or self._padding:
                self._skip_rest()
            block = self._header_block()
            if block is None:
                return None
            header = parse_header(block)
            if header[1] in _DESCRIBING:
                return self._described(header)
            return self._member(header, block, None)
        except BadHeader as error:
            raise self._bad(str(error)) from None

    @property
    def offset(self) -> int:
        """Where in the stream the present member's data begins, or what is left of it."""
        return self._before + self._at

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes of the present member's data as it lies in the archive; none at its end."""
        size = min(size, self._left)
        return self._take(size) if size else b""

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next ``size`` bytes of the present member's data, in pieces that are not copied."""
        while size > 0:
            available = len(self._chunk) - self._at
            if not available:
                self._fill()
                continue
            count = min(size, available)
            at = self._at
            self._at += count
            self._left -= count
            size -= count
            yield memoryview(self._chunk)[at : at + count]

    def _described(self, header: Header) -> Optional[TarMember]:
        """The member that a describing one, and perhaps more, are before."""
        about, block = _Description(), _ZEROS
        while header[1] in _DESCRIBING:
            self._describe(header, about)
            following = self._header_block()
            if following is None and not about.given:
                return None  # a global header at the end describes nothing
            if following is None:
                raise self._bad("it ends after a header that describes what follows")
            block = following
            header = parse_header(block)
        return self._member(header, block, about)

    def _describe(self, header: Header, about: _Description) -> None:
        kind, size = header[1], header[3]
        data = self._describing_data(size)
        if kind == _GLOBAL:
            self._describe_all(data)
            return
        about.given = True
        if kind == _LONG_NAME:
            about.name = data.partition(b"\0")[0]
        elif kind == _LONG_LINK:
            about.link = data.partition(b"\0")[0]
        else:
            for key, value in pax_records(data):
                if key in _REPEATED:
                    about.repeated.append((key, value))
                elif key in _KNOWN or key.startswith(_PREFIXES):
                    about.records[key] = value

    def _describe_all(self, data: bytes) -> None:
        """Remember a global header's records; a map of pieces fits one file only."""
        records = {key: value for key, value in pax_records(data) if not key.startswith(sparse.KEYS)}
        self._global.update({key: records[key] for key in records if key in _KNOWN or key.startswith(_XATTR)})
        size = sum(len(key) + len(value) for key, value in self._global.items())
        if size > _MAX_HEADER:
            raise BadHeader(f"global headers of {size} bytes")

    def _describing_data(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise BadHeader(f"a header of {size} bytes")
        padding = -size % BLOCK
        self._budget.spend(BLOCK + size + padding)
        return self._take_all(size + padding)[:size]

    def _member(self, header: Header, block: bytes, about: Optional[_Description]) -> TarMember:
        """Charge for a member and make it."""
        member = TarMember(header)
        records: dict[bytes, bytes] = {}
        if about is not None or self._global:
            records = {**self._global, **(about.records if about else {})}
            _apply(member, records, about)
        stored = member.size if member.kind in _WITH_DATA else 0
        if stored < 0:
            raise BadHeader(f"a member of {stored} bytes")
        self._left = stored
        self._padding = -stored % BLOCK
        self._budget.spend(BLOCK + stored + self._padding)
        if member.kind != FILE:
            self._settle_kind(member, block)
        if about is not None and member.kind == FILE and member.pieces is None:
            self._spread(member, sparse.pax_map(records, about.repeated, self._take, stored))
        if b"\0" in member.name or b"\0" in member.link:
            raise BadHeader("a name with a zero byte in it")
        return member

    def _settle_kind(self, member: TarMember, block: bytes) -> None:
        """Give a member one of the known types."""
        kind = member.kind
        if kind == _SPARSE:
            pieces, size = sparse.old_gnu_map(block, self._take_extension)
            self._spread(member, (pieces, size))
        member.kind = _ALIASES.get(kind, kind)
        if kind == _OLD_FILE and member.name.endswith(b"/"):
            member.kind = DIRECTORY  # as before there was a type for it
        if member.kind not in _TYPES:
            raise BadHeader(f"a member of the unknown type {kind!r}")

    def _spread(self, member: TarMember, found: Optional[tuple[sparse.Map, int]]) -> None:
        """Take over the map of a sparse file."""
        if found is not None:
            member.pieces, member.size = found
            sparse.check_map(member.pieces, member.size, self._left)

    def _header_block(self) -> Optional[bytes]:
        """The next header; None at the end, which is a block of zeros, or no block at all."""
        end = self._at + BLOCK
        if end <= len(self._chunk):
            block = self._chunk[self._at : end]
            self._at = end
        else:
            block = self._take_some(BLOCK)
            if not block:
                return None
        if block[0] or block != _ZEROS:
            if len(block) < BLOCK:
                raise self._bad("it ends in the middle of a header")
            return block
        if self._take_some(BLOCK) not in (b"", _ZEROS):
            raise self._bad("something follows the zeros of its end")
        return None

    def _take_extension(self, size: int) -> bytes:
        """A block that belongs to the header but lies after it, and is not counted in its size."""
        self._budget.spend(size)
        return self._take_all(size)

    def _take(self, size: int) -> bytes:
        """``size`` bytes of the present member's data."""
        if size > self._left:
            raise BadHeader("a member that is too short for its description")
        self._left -= size
        return self._take_all(size)

    def _take_all(self, size: int) -> bytes:
        data = self._take_some(size)
        if len(data) < size:
            raise self._bad("it ends in the middle of a member")
        return data

    def _take_some(self, size: int) -> bytes:
        """``size`` bytes, or fewer where the archive ends."""
        parts = []
        while size > 0:
            part = self._chunk[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
            if size and not self._next_chunk():
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _skip_rest(self) -> None:
        """Go to the next header; at the end of the archive the zeros that fill up a block may be missing."""
        left, padding = self._left, self._padding
        self._left = self._padding = 0
        if self._at + left + padding <= len(self._chunk):
            self._at += left + padding
        else:
            self._skip(left)
            self._take_some(padding)

    def _skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._chunk):
            rest = self._at - len(self._chunk)
            self._at = len(self._chunk)
            passed = self._source.skip(rest)
            self._before += passed
            rest -= passed
            while rest > 0:
                self._fill()
                self._at = min(rest, len(self._chunk))
                rest -= self._at

    def _fill(self) -> None:
        if not self._next_chunk():
            raise self._bad("it ends in the middle of a member")

    def _next_chunk(self) -> bool:
        chunk = self._source.chunk()
        if chunk:
            self._before += len(self._chunk)
            self._chunk, self._at = chunk, 0
        return bool(chunk)

    def _bad(self, cause: str) -> UnpackError:
        place = self._before + self._at
        message = f"{self._budget.act}: not a whole tar archive: {cause} (before byte {place})"
        return UnpackError(message, "is the file complete, and an archive?")


def _apply(member: TarMember, records: dict[bytes, bytes], about: Optional[_Description]) -> None:
    """Let a member be what the extended headers make of it; an empty value takes back an earlier one."""
    member.name = records.get(b"path") or member.name
    member.link = records.get(b"linkpath") or member.link
    if records.get(b"size"):
        member.size = pax_size(records[b"size"])
    if records.get(b"mtime"):
        member.mtime = pax_time(records[b"mtime"])
    if records.get(b"uid"):
        member.uid = pax_owner(records[b"uid"])
    if records.get(b"gid"):
        member.gid = pax_owner(records[b"gid"])
    if about is not None:
        # GNU's headers win over POSIX's, as in Go's archive/tar, which docker reads with.
        member.name = about.name or records.get(b"GNU.sparse.name") or member.name
        member.link = about.link or member.link
    xattrs = {key[len(_XATTR) :]: value for key, value in records.items() if key.startswith(_XATTR)}
    member.xattrs = xattrs or None
