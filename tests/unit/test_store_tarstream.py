"""The reader of tar archives, held against those who write them, and against bytes that nobody would."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.services.needs import need_command
from udocker.errors import UnpackError
from udocker.store.limits import Budget, Limits
from udocker.store.tarheader import BadHeader, number, pax_records, pax_time
from udocker.store.tarstream import DIRECTORY, FILE, HARDLINK, SYMLINK, TarReader
from udocker.store.unpack import unpack_layers

LIMITS = Limits()
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
SECOND = 1_000_000_000


class Pieces:
    """An archive that comes in pieces of ``size`` bytes."""

    def __init__(self, data: bytes, size: int = 1 << 16) -> None:
        self._stream = io.BytesIO(data)
        self._size = size

    def chunk(self) -> bytes:
        return self._stream.read(self._size)

    def skip(self, size: int) -> int:
        return 0


Entry = tuple[bytes, bytes, int, int, int, bytes, bytes]


def read(data: bytes, size: int = 1 << 16) -> list[Entry]:
    """Every member as name, type, mode, size, time, link and content."""
    reader = TarReader(Pieces(data, size), Budget(LIMITS))
    return [
        (
            member.name,
            member.kind,
            member.mode,
            member.size,
            member.mtime,
            member.link,
            b"".join(reader.pieces(member.size)) if member.kind == FILE and not member.pieces else b"",
        )
        for member in reader
    ]


def archive(infos: list[tuple[tarfile.TarInfo, bytes]], layout: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=layout, errors="surrogateescape") as tar:
        for info, data in infos:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def entry(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), 1_000_000_000
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


NAMES = st.binary(min_size=1, max_size=90).filter(lambda name: b"\0" not in name and b"/" not in name)
LONG = st.lists(NAMES, min_size=1, max_size=6).map(b"/".join)
TIMES = st.one_of(st.integers(0, 1 << 33), st.integers(0, 1 << 32).map(lambda value: value / 8))


@st.composite
def entries(draw: st.DrawFn) -> tuple[tarfile.TarInfo, bytes]:
    kind = draw(st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]))
    data = draw(st.binary(max_size=1500)) if kind == tarfile.REGTYPE else b""
    link = os.fsdecode(draw(LONG)) if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    mode = draw(st.integers(0, 0o7777))
    name = os.fsdecode(draw(LONG))
    return entry(name, data, type=kind, linkname=link, mode=mode, mtime=draw(TIMES))


@settings(max_examples=150, deadline=None)
@given(
    infos=st.lists(entries(), max_size=6), layout=st.sampled_from(list(FORMATS)), size=st.integers(1, 3000)
)
def test_archives_of_every_format_of_tarfile_are_read_as_tarfile_reads_them(
    infos: list[tuple[tarfile.TarInfo, bytes]], layout: str, size: int
) -> None:
    try:
        data = archive(infos, FORMATS[layout])
    except ValueError:
        return  # a name that ustar has no room for
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as tar:
        expected = [
            (
                os.fsencode(info.name),
                info.type,
                info.mode,
                info.size,
                os.fsencode(info.linkname),
                tar.extractfile(info).read() if info.isreg() else b"",  # type: ignore[union-attr]
            )
            for info in tar
        ]
    found = [
        (name.rstrip(b"/"), kind, mode, length, link, content)
        for name, kind, mode, length, _, link, content in read(data, size)
    ]
    assert found == [(name.rstrip(b"/"), *rest) for name, *rest in expected]


@pytest.mark.parametrize("mtime", [0, 1.5, 1_700_000_000.25, (1 << 33) + 5])
def test_times_have_their_fractions(mtime: float) -> None:
    expected = min(int(mtime * 4) * (SECOND // 4), (1 << 33) * SECOND)
    assert read(archive([entry("x", mtime=mtime)]))[0][4] == expected


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_mutated_archives_raise_nothing_but_unpack_errors(data: st.DataObject) -> None:
    layout = data.draw(st.sampled_from(list(FORMATS)))
    original = archive(
        [
            entry("d", type=DIRECTORY),
            entry("d/" + "n" * 120, b"x" * 700, pax_headers={"SCHILY.xattr.user.a": "1"}),
            entry("l", type=SYMLINK, linkname="t" * 120),
            entry("h", type=HARDLINK, linkname="l"),
        ],
        FORMATS["gnu" if layout == "ustar" else layout],
    )
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):  # with sums that are right the rest of the header counts
        for at in range(0, len(damaged), 512):
            block = damaged[at : at + 148] + b" " * 8 + damaged[at + 156 : at + 512]
            if any(damaged[at : at + 512]):
                damaged[at + 148 : at + 156] = b"%06o\0 " % sum(block)
    try:
        read(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]), data.draw(st.integers(1, 2000)))
    except UnpackError as error:
        assert "\n" not in error.message


def test_an_archive_may_end_between_members_but_not_within_one() -> None:
    data = archive([entry("a", b"1" * 600), entry("b", b"2")]).rstrip(b"\0")
    whole = data + bytes(-len(data) % 512)
    # The zeros that fill the last block may be missing as well, as in layers of umoci insert.
    boundaries = {0: 0, **dict.fromkeys(range(512 + 600, 1537), 1)}
    boundaries.update(dict.fromkeys(range(1536 + 512 + 1, len(whole) + 1), 2))
    for length in range(len(whole) + 1):
        if length in boundaries:
            assert len(read(whole[:length])) == boundaries[length]
        else:
            with pytest.raises(UnpackError, match="it ends in the middle of"):
                read(whole[:length])


def test_an_archive_that_ends_after_a_long_name_is_refused() -> None:
    data = archive([entry("n" * 200, b"")], tarfile.GNU_FORMAT)
    with pytest.raises(UnpackError, match="describes what follows"):
        read(data[:1024])


def test_zeros_between_members_are_refused_as_docker_does() -> None:
    data = archive([entry("a")])[:512]
    with pytest.raises(UnpackError, match="zeros"):
        read(data + bytes(512) + data)


def test_a_global_header_holds_for_all_and_an_own_header_wins() -> None:
    buffer = io.BytesIO()
    common = {"mtime": "5", "comment": "1234"}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers=common) as tar:
        tar.addfile(entry("a")[0])
        tar.addfile(entry("b", pax_headers={"mtime": "7"})[0])
    assert [(name, mtime) for name, _, _, _, mtime, _, _ in read(buffer.getvalue())] == [
        (b"a", 5 * SECOND),
        (b"b", 7 * SECOND),
    ]


def test_an_archive_of_a_global_header_alone_is_empty() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "c"}):
        pass
    assert read(buffer.getvalue()) == []


def raw(**fields: bytes) -> bytes:
    """A header of a file with some fields replaced, and its sum put right unless that is one of them."""
    places = {"name": (0, 100), "mode": (100, 8), "size": (124, 12), "mtime": (136, 12), "kind": (156, 1)}
    block = bytearray(entry("f")[0].tobuf(tarfile.USTAR_FORMAT))
    for field, value in fields.items():
        at, length = places[field]
        block[at : at + length] = value.ljust(length, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_numbers_may_be_binary() -> None:
    assert number(b"\x80\0\0\0\0\0\0\0\0\0\x10\0") == 4096
    assert number(b"\xff" * 12) == -1
    assert read(raw(mtime=b"\x80\0\0\0\0\0\0\0\0\0\x10\0"))[0][4] == 4096 * SECOND
    assert read(raw(mtime=b"\xff" * 12))[0][4] == 0


@pytest.mark.parametrize("field", [b"0o17", b"1_0", b"-5", b"+5", b"0x1f", b"89", b"7 7", b"seven"])
def test_numbers_that_only_python_understands_are_refused(field: bytes) -> None:
    with pytest.raises(BadHeader):
        number(field)
    with pytest.raises(UnpackError, match="number"):
        read(raw(size=field))


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\x80" + b"\xff" * 11, b"\xbf" + b"\xff" * 11])
def test_a_size_that_cannot_be_is_refused(size: bytes) -> None:
    with pytest.raises(UnpackError):
        read(raw(size=size))


def test_a_sum_of_signed_bytes_counts_as_well() -> None:
    block = bytearray(raw(name=b"\xfc\xfd"))
    signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + b" " * 8 + block[156:])
    block[148:156] = b"%06o\0 " % signed
    assert read(bytes(block))[0][0] == b"\xfc\xfd"


def test_members_of_unknown_types_are_refused() -> None:
    with pytest.raises(UnpackError, match="unknown type"):
        read(raw(kind=b"Q"))


@pytest.mark.parametrize(
    "records",
    [
        b"9 path=x",
        b"0 path=x\n",
        b"99 path=x\n",
        b"-9 path=x\n",
        b"10 path=x\n ",
        b" 9 path=x\n",
        b"8 pathx\n\n",
        b"5 =x\n",
        b"1 \n",
        b"2\n",
        b"\xb2 path\n",
    ],
)
def test_damaged_records_of_extended_headers_are_refused(records: bytes) -> None:
    with pytest.raises(BadHeader):
        list(pax_records(records))


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.binary(max_size=200)), max_size=5))
def test_records_of_any_bytes_come_back(pairs: list[tuple[bytes, bytes]]) -> None:
    pairs = [(key.replace(b"=", b"-"), value) for key, value in pairs]
    data = b""
    for key, value in pairs:
        rest = b" " + key + b"=" + value + b"\n"
        length = next(n for n in range(len(rest), len(rest) + 9) if len(str(n)) + len(rest) == n)
        data += str(length).encode() + rest
    assert list(pax_records(data)) == pairs


@pytest.mark.parametrize("text", [b"nan", b"inf", b"1e5", b"", b"1,5", b" 1", b"0x1", b"9" * 30])
def test_times_that_are_no_times_are_refused(text: bytes) -> None:
    with pytest.raises(BadHeader):
        pax_time(text)


def tree_of(path: Path) -> None:
    (path / "dir").mkdir(parents=True)
    (path / "dir/file").write_bytes(b"content\n" * 1000)
    (path / "empty").touch()
    (path / ("long" * 40)).write_bytes(b"a long name")
    (path / "link").symlink_to("t" * 150)
    os.link(path / "dir/file", path / "hard")
    with (path / "sparse").open("wb") as stream:
        for number in range(30):  # more than fit into one header, or one block after it
            stream.seek(number << 20)
            stream.write(b"%d" % number)
        stream.truncate(40 << 20)
    with (path / "hole").open("wb") as stream:
        stream.truncate(20 << 20)


def described(path: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for item in sorted(path.rglob("*")):
        info = item.lstat()
        content = os.readlink(item) if item.is_symlink() else item.read_bytes() if item.is_file() else ""
        found[str(item.relative_to(path))] = (info.st_mode, info.st_mtime_ns // SECOND, content)
    return found


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=gnu", "--sparse"],
        ["--format=oldgnu", "--sparse"],
        ["--format=posix"],
        ["--format=posix", "--sparse", "--sparse-version=0.0"],
        ["--format=posix", "--sparse", "--sparse-version=0.1"],
        ["--format=posix", "--sparse", "--sparse-version=1.0"],
    ],
    ids=" ".join,
)
def test_archives_of_gnu_tar_are_unpacked_as_they_were(tmp_path: Path, options: list[str]) -> None:
    source, root = tmp_path / "source", tmp_path / "root"
    tree_of(source)
    root.mkdir()
    tar = need_command("tar", "tar")
    layer = tmp_path / "layer.tar"
    subprocess.run([tar, "-C", str(source), *options, "-cf", str(layer), "."], check=True)
    unpack_layers([layer], root)
    assert described(root) == described(source)
    assert os.path.samefile(root / "hard", root / "dir/file")
    if "--sparse" in options:
        assert (root / "sparse").stat().st_blocks * 512 < 1 << 20
        assert (root / "hole").stat().st_blocks * 512 < 1 << 16


SPARSE = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": "100"}


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "0,4,2,1"},  # overlapping
        {"GNU.sparse.map": "0,5", "GNU.sparse.size": "3"},  # beyond the end
        {"GNU.sparse.map": "0,4"},  # less than is stored
        {"GNU.sparse.map": "0,5,7"},
        {"GNU.sparse.map": "-1,5"},
        {"GNU.sparse.map": "0,5", "GNU.sparse.size": "9" * 19},
        {"GNU.sparse.map": ",".join("1" * 600_000)},
        {"GNU.sparse.major": "3"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "5"},
    ],
)
def test_maps_of_sparse_files_that_make_no_sense_are_refused(headers: dict[str, str]) -> None:
    whole = {**SPARSE, "GNU.sparse.map": "0,3,50,2"}
    assert read(archive([entry("s", b"12345", pax_headers=whole)]), 7)[0][3] == 100
    data = archive([entry("s", b"12345", pax_headers={**SPARSE, **headers})])
    with pytest.raises(UnpackError):
        read(data)
