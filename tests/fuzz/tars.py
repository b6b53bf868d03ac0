"""Tar archives made of choices: hostile names, links, types, sizes and headers, whole or damaged."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable, Sequence

import zstandard

from tests.fuzz.choices import Choices
from tests.services.images import Member

_COMMON = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)
_RARE = (
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.CONTTYPE,
    tarfile.AREGTYPE,
    tarfile.GNUTYPE_SPARSE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    b"D",
    b"V",
    b"?",
)
_PLAIN = ("a", "b", "c", "d")
_PARTS = (
    "a", "b", "c", "..", ".", "", "etc", "\n", "\udcff", "x" * 101, "x" * 256, ".wh.", ".wh.a", ".wh.b",
    ".wh..", ".wh...", ".wh..wh..opq", ".wh..wh.plnk", "d", "link", " ", "-", "\u00e9",
)  # fmt: skip
_PAX = (
    "path", "linkpath", "size", "mtime", "GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.map", "mode",
    "GNU.sparse.size", "GNU.sparse.realsize", "GNU.sparse.name", "GNU.sparse.numblocks", "hdrcharset", "uid",
    "GNU.sparse.offset", "GNU.sparse.numbytes", "SCHILY.xattr.user.a", "SCHILY.xattr.security.capability", "",
)  # fmt: skip
_VALUES = (
    "a", "../../host/file", "-1", "0", "1", "9" * 30, "1e309", "nan", "0,1", "0,1,5,1", "-5,3", "x", "", "=",
    "\n", "99999999999", "0.1.2", "BINARY",
)  # fmt: skip
_NUMBERS = (
    b"0000000",
    b"7777777",
    b"\x80" + b"\xff" * 6,
    b"\xff" * 7,
    b"       ",
    b"-000001",
    b"abc",
    b"00000\x00 ",
)


def tar_from(choices: Choices, targets: Sequence[str] = ()) -> bytes:
    """An archive; ``targets`` are paths that its names and links may lead to."""
    kind = choices.pick((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))
    written = b""
    for _ in range(1 + choices.number(24)):
        item = _member(choices, targets)
        try:
            header = item.info.tobuf(kind, "utf-8", "surrogateescape")
        except (ValueError, OverflowError, UnicodeError):
            continue  # what this format has no place for
        written += header + item.data + bytes(-len(item.data) % 512)
    written += bytes(choices.pick((1024, 1024, 1024, 512, 0)))
    return _compressed(choices, _damaged(choices, written))


def _member(choices: Choices, targets: Sequence[str]) -> Member:
    info = tarfile.TarInfo(_name(choices, targets))
    info.type = choices.pick(_RARE if choices.often(5) else _COMMON)
    info.linkname = _name(choices, targets) if info.type in _COMMON or choices.often() else ""
    info.mode = choices.pick((0o644, 0, 0o7777, 0o4755, 0o2070, 0o111))
    info.mtime = choices.pick((0, 1_000_000_000, 1 << 33, 1 << 40))
    has_data = info.type not in _COMMON[1:] or choices.often(8)  # most readers expect none after the others
    data = choices.bytes(choices.number(40)) * choices.pick((1, 1, 100)) if has_data else b""
    info.size = (
        choices.pick((len(data), len(data), len(data) + 600, 1 << 33)) if choices.often(8) else len(data)
    )
    if choices.often(8):
        info.pax_headers = {choices.pick(_PAX): choices.pick(_VALUES) for _ in range(1 + choices.number(4))}
    return Member(info, data)


def _name(choices: Choices, targets: Sequence[str]) -> str:
    if targets and choices.often(6):
        return choices.pick(targets)
    parts = _PARTS if choices.often(4) else _PLAIN
    name = "/".join(choices.pick(parts) for _ in range(1 + choices.number(3)))
    return "/" + name if choices.often(8) else name


def _damaged(choices: Choices, data: bytes) -> bytes:
    """The archive, or one with changed bytes; a header keeps a right checksum, or nothing would read it."""
    changed = bytearray(data)
    for _ in range(choices.number(4) if choices.often(6) else 0):
        start = choices.number(max(1, len(changed) // 512)) * 512
        at = start + choices.pick(
            (0, 100, 108, 116, 124, 136, 148, 156, 157, 257, 263, 345, 386, 482, 483, 511)
        )
        value = choices.pick((*_NUMBERS, choices.bytes(3)))
        changed[at : at + len(value)] = value[: max(0, len(changed) - at)]
        if choices.often():
            _seal(changed, start)
    if choices.often(8):
        del changed[choices.number(len(changed) + 1) :]
    return bytes(changed)


_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 1, mtime=0),
    "zstd": zstandard.ZstdCompressor(level=1).compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def _seal(data: bytearray, start: int) -> None:
    if len(data) >= start + 512:
        data[start + 148 : start + 156] = b" " * 8
        data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])


def _compressed(choices: Choices, data: bytes) -> bytes:
    how = choices.pick(("plain", *_COMPRESS)) if choices.often() else "plain"
    if how != "plain":
        data = _COMPRESS[how](data)
    if how != "plain" and choices.often(4):
        at = choices.number(len(data))
        data = data[:at] + choices.bytes(2) + data[at + 2 :]
    return data
