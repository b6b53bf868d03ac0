"""Where the pieces of a sparse file belong: the four ways in which GNU tar writes that down.

Sources: GNU tar manual, "Storing Sparse Files" (old GNU format and pax formats 0.0, 0.1 and 1.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Callable, Optional

from udocker.store.tarheader import BLOCK, BadHeader, number, pax_size

# Pieces as (offset, length), in the order in which they lie in the archive.
Map = list[tuple[int, int]]
Take = Callable[[int], bytes]

KEYS = b"GNU.sparse."
# Go's archive/tar, which docker reads with, stops at a mebibyte of text; that is fewer.
_MAX_PIECES = 1 << 17
_VERSIONS = ((b"0", b"0"), (b"0", b"1"), (b"1", b"0"))
_ENTRY = 24
_IN_HEADER, _IN_BLOCK = 4, 21
_HEADER_MAP, _HEADER_MORE, _HEADER_SIZE, _BLOCK_MORE = 386, 482, 483, 504


def old_gnu_map(header: bytes, take: Take) -> tuple[Map, int]:
    """The map and the size of a member of type ``S``; ``take`` reads from the archive.  Raises BadHeader."""
    pieces = _entries(header, _HEADER_MAP, _IN_HEADER)
    more = header[_HEADER_MORE]
    while more:
        block = take(BLOCK)
        pieces += _entries(block, 0, _IN_BLOCK)
        _check_count(len(pieces))
        more = block[_BLOCK_MORE]
    return pieces, number(header[_HEADER_SIZE : _HEADER_SIZE + 12])


def _entries(block: bytes, start: int, count: int) -> Map:
    found = []
    for at in range(start, start + count * _ENTRY, _ENTRY):
        if block[at] == 0:
            break  # entries end before the room for them does
        found.append((number(block[at : at + 12]), number(block[at + 12 : at + _ENTRY])))
    return found


def pax_map(
    records: Mapping[bytes, bytes], repeated: Sequence[tuple[bytes, bytes]], take: Take, stored: int
) -> Optional[tuple[Map, int]]:
    """The map and the file's size; None where it is not sparse.

    ``repeated`` are the records of format 0.0, which come once a piece; ``stored`` is the size of the data,
    which in format 1.0 begins with the map.  Raises BadHeader.
    """
    version = (records.get(b"GNU.sparse.major", b"0"), records.get(b"GNU.sparse.minor", b"0"))
    if version not in _VERSIONS:
        raise BadHeader("a sparse file of an unknown version")
    if version[0] == b"1":
        size = pax_size(records.get(b"GNU.sparse.realsize", b""))
        return _map_before_data(take, stored), size
    if b"GNU.sparse.map" in records:
        text = records[b"GNU.sparse.map"]
        _check_count(text.count(b",") // 2)
        numbers = [pax_size(item) for item in text.split(b",")] if text else []
    elif b"GNU.sparse.size" in records:
        _check_count(len(repeated) // 2)
        expected = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        if any(key != expected[at % 2] for at, (key, _) in enumerate(repeated)):
            raise BadHeader("a sparse file with a damaged map")
        numbers = [pax_size(value) for _, value in repeated]
    else:
        return None
    return _pairs(numbers), pax_size(records.get(b"GNU.sparse.size", b""))


def _map_before_data(take: Take, stored: int) -> Map:
    """Format 1.0: decimal numbers a line, their pairs counted by the first, padded to a block."""
    lines: list[bytes] = []
    rest, taken, wanted = b"", 0, 1
    while len(lines) < wanted:
        if taken + BLOCK > stored:
            raise BadHeader("a sparse file with a damaged map")
        *whole, rest = (rest + take(BLOCK)).split(b"\n")
        taken += BLOCK
        if not lines and whole:
            wanted += 2 * pax_size(whole[0])
            _check_count(wanted // 2)
        lines += whole
        if len(rest) > BLOCK:
            raise BadHeader("a sparse file with a damaged map")
    return _pairs([pax_size(line) for line in lines[1:wanted]])


def _pairs(numbers: Sequence[int]) -> Map:
    if len(numbers) % 2:
        raise BadHeader("a sparse file with a damaged map")
    return list(zip(numbers[::2], numbers[1::2]))


def _check_count(count: int) -> None:
    if count > _MAX_PIECES:
        raise BadHeader(f"a sparse file of more than {_MAX_PIECES} pieces")


def check_map(pieces: Map, size: int, stored: int) -> None:
    """Raises BadHeader where pieces overlap, leave the file, or are not what is stored."""
    end = total = 0
    for offset, length in pieces:
        if offset < end or length < 0:
            raise BadHeader("a sparse file with a damaged map")
        end = offset + length
        total += length
    if end > size or size >= 1 << 63 or total != stored:
        raise BadHeader("a sparse file with a damaged map")
