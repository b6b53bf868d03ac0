"""The 512 bytes before each member of a tar archive, and the extended headers between them.

Formats: ustar and pax (POSIX.1-2017, pax, sections "ustar Interchange Format" and "pax Extended Header"),
GNU (GNU tar manual, "Basic Tar Format"), star and what came before.  Numbers and sums are taken strictly: a
header that is wrong is an error, never the end of the archive.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from zlib import adler32

BLOCK = 512
# name, mode, uid, gid, size, mtime, checksum, type, link, magic, (version to devminor), prefix, (rest)
_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s6s82x155s12x").unpack
_USTAR = b"ustar\0"
_STAR = b"tar\0"  # in the last four bytes; its prefix is shorter, and times follow it
_STAR_PREFIX = 131
_SECONDS = re.compile(rb"(-?)([0-9]{1,18})(?:\.([0-9]*))?")
_NANO = 1_000_000_000
# Times before 1970 or beyond 64 bits of nanoseconds are nonsense that some file systems refuse.
_LAST = (1 << 33) * _NANO
_MAX_DIGITS = 20


class BadHeader(Exception):
    """A header that is none, in words; the reader of the archive says where."""


# Name, type, mode, size in bytes as they lie in the archive, time in nanoseconds, target of a link, owner and
# group.
Header = tuple[bytes, bytes, int, int, int, bytes, int, int]


def parse_header(block: bytes) -> Header:
    """Read a header of 512 bytes that is not all zeros; raises BadHeader."""
    name, mode, uid, gid, size, mtime, checksum, kind, link, magic, prefix = _FIELDS(block)
    # Adler-32's lower half is one more than the sum modulo 65521, which half a block cannot reach.
    total = (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2
    expected = number(checksum)
    if total - sum(checksum) + 256 != expected and _signed_sum(block) != expected:
        raise BadHeader("a header with a wrong checksum")
    path = name.partition(b"\0")[0]
    if magic == _USTAR and prefix[0]:
        if block[-4:] == _STAR:
            prefix = prefix[:_STAR_PREFIX]
        path = prefix.partition(b"\0")[0] + b"/" + path
    seconds = number(mtime) * _NANO
    if not 0 <= seconds <= _LAST:
        seconds = min(max(seconds, 0), _LAST)
    ids = (owner(uid), owner(gid))
    return (path, kind, number(mode), number(size), seconds, link.partition(b"\0")[0], *ids)


@lru_cache(1 << 12)  # modes and times are mostly the same ones
def number(field: bytes) -> int:
    """A number in octal digits, or in binary where its first bit is set; an empty field is 0.

    Raises BadHeader.
    """
    digits = field.strip(b" \0")
    if digits.isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            raise BadHeader(f"a header with {digits!r} for a number") from None
    if field[0] & 0x80:
        # Two's complement, whose sign is the bit below the mark (GNU tar manual, "Extensions").
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if field[0] & 0x40 else value
    if not digits:
        return 0
    digits, _, rest = digits.partition(b"\0")
    if rest and digits:
        return number(digits)  # what follows the end of a string is of no meaning
    raise BadHeader(f"a header with {digits!r} for a number")


@lru_cache(1 << 10)
def owner(field: bytes) -> int:
    """A user's or group's number; what is none is root's, for much is written there and nobody reads it."""
    try:
        return number(field)
    except BadHeader:
        return 0


def _signed_sum(block: bytes) -> int:
    """The sum as some old programs made it, of bytes with a sign."""
    words = block[:148] + b" " * 8 + block[156:]
    return sum(words) - 256 * sum(byte > 127 for byte in words)


def pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records "LENGTH KEY=VALUE\\n" of an extended header; raises BadHeader."""
    at, end = 0, len(data)
    while at < end:
        space = data.find(b" ", at, at + _MAX_DIGITS)
        digits = data[at:space] if space > at else b""
        stop = at + int(digits) if digits.isdigit() else 0
        key, equals, value = data[space + 1 : stop - 1].partition(b"=")
        if not at < space < stop <= end or data[stop - 1] != 0x0A or not equals or not key:
            raise BadHeader("an extended header that is damaged")
        yield key, value
        at = stop


def pax_size(value: bytes) -> int:
    """A number of bytes in decimal digits; raises BadHeader."""
    if not value.isdigit() or len(value) > _MAX_DIGITS:
        raise BadHeader(f"an extended header with the size {value[:_MAX_DIGITS]!r}")
    return int(value)


def pax_owner(value: bytes) -> int:
    """A user's or group's number in decimal digits; what is none is root's."""
    return int(value) if value.isdigit() and len(value) <= _MAX_DIGITS else 0


def pax_time(value: bytes) -> int:
    """A time in seconds with a fraction, as nanoseconds; raises BadHeader."""
    match = _SECONDS.fullmatch(value)
    if match is None:
        raise BadHeader(f"an extended header with the time {value[:_MAX_DIGITS]!r}")
    if match[1]:
        return 0
    fraction = (match[3] or b"")[:9].ljust(9, b"0")
    return min(int(match[2]) * _NANO + int(fraction), _LAST)
