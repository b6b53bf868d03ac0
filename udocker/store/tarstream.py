"""Tar streams that may hold anything, read once, a member at a time."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any, Union, cast

# What tarfile raises for archives that are none.
BAD_ARCHIVE = (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError)
# Members that tarfile reads into memory as a whole: they only tell of the next one.
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# A name has at most 4096 bytes and an extended attribute 64 KiB (path_resolution(7), xattr(7)).
_MAX_HEADER = 1 << 20


class StrictMember(tarfile.TarInfo):
    """A member whose header is right and of a bounded size: tarfile takes a damaged one for the end."""

    @classmethod
    def frombuf(cls, buf: Union[bytes, bytearray], encoding: str, errors: str) -> StrictMember:
        try:
            member = super().frombuf(buf, encoding, errors)
        except (tarfile.EmptyHeaderError, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None
        if member.size < 0 or (member.type in _HEADERS and member.size > _MAX_HEADER):
            raise tarfile.ReadError(f"a header of {member.size} bytes")
        return member


def tar_members(stream: Any) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Each member of a stream, of which no more than ``read`` is asked, with the archive that reads it.

    Raises what is in BAD_ARCHIVE.
    """
    with tarfile.open(
        fileobj=cast(Any, stream),
        mode="r|",
        bufsize=1 << 18,
        tarinfo=StrictMember,
        encoding="utf-8",
        errors="surrogateescape",
    ) as archive:
        for member in archive:
            yield archive, member
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every member
            archive.pax_headers = {}  # and every global header
