"""What a program in the background prints is kept in a bounded space and read as it came."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udocker.cli.logs import _since, _tail
from udocker.errors import UsageError
from udocker.run.output import OutputWriter, Piece, read


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "run.log", tmp_path / "run.log.1"


def text_of(pieces: list[Piece], stream: bytes = b"stdout") -> bytes:
    return b"".join(piece.text + (b"\n" if piece.ends else b"") for piece in pieces if piece.stream == stream)


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_what_was_written_is_read_byte_by_byte(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes]
) -> None:
    directory = tmp_path_factory.mktemp("log")
    writer = OutputWriter(directory / "a", directory / "b", 1 << 20)
    for block in blocks:
        writer.write("stdout", block)
    writer.close()
    assert text_of(list(read(directory / "a", directory / "b", None, b""))) == b"".join(blocks)


def test_nothing_is_written_through_a_link(places: tuple[Path, Path]) -> None:
    mine = places[0].with_name("mine")
    mine.write_text("mine")
    places[0].symlink_to(mine)
    with pytest.raises(OSError, match="symbolic links"):
        OutputWriter(*places, 1 << 20)
    assert mine.read_text() == "mine"


def test_long_lines_are_kept_whole(places: tuple[Path, Path]) -> None:
    writer = OutputWriter(*places, 10 << 20)
    line = b"x" * 300_000
    writer.write("stdout", line + b"\n\r\nend")
    assert text_of(list(read(*places, None, b""))) == line + b"\n\r\nend"


def test_streams_are_told_apart_and_lines_have_their_time(places: tuple[Path, Path]) -> None:
    writer = OutputWriter(*places, 1 << 20)
    writer.write("stdout", b"out\n")
    writer.write("stderr", b"err\n")
    pieces = list(read(*places, None, b""))
    assert text_of(pieces, b"stderr") == b"err\n"
    assert all(re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", piece.when) for piece in pieces)


def test_the_space_is_bounded_and_the_newest_half_is_there(places: tuple[Path, Path]) -> None:
    writer = OutputWriter(*places, 10_000)
    for number in range(2_000):
        writer.write("stdout", b"%04d\n" % number)
    writer.close()
    sizes = [path.stat().st_size for path in places]
    assert sum(sizes) < 10_000 + 200
    lines = text_of(list(read(*places, None, b""))).split()
    assert lines[-1] == b"1999"
    assert lines == [b"%04d" % number for number in range(2_000 - len(lines), 2_000)]
    assert len(lines) >= 10_000 // 2 // 50


@pytest.mark.parametrize(
    ("count", "expected"), [(0, b""), (1, b"rest"), (2, b"c\nrest"), (9, b"a\nb\nc\nrest")]
)
def test_the_last_lines_are_read(places: tuple[Path, Path], count: int, expected: bytes) -> None:
    writer = OutputWriter(*places, 1 << 20)
    for block in (b"a\nb\n", b"c", b"\nre", b"st"):
        writer.write("stdout", block)
    assert text_of(list(read(*places, count, b""))) == expected


def test_what_comes_is_read_until_the_run_ends_although_the_files_take_turns(
    places: tuple[Path, Path],
) -> None:
    writer = OutputWriter(*places, 1_000)
    over = threading.Event()
    found: list[Piece] = []
    seen = threading.Event()

    def collect() -> None:
        for piece in read(*places, None, b"", lambda: not over.is_set()):
            found.append(piece)
            seen.set()

    reader = threading.Thread(target=collect)
    reader.start()
    for number in range(40):
        seen.clear()
        writer.write("stdout", b"%04d\n" % number)
        assert seen.wait(30)
    writer.write("stdout", b"last\n")
    over.set()
    reader.join(30)
    assert text_of(found).split() == [b"%04d" % number for number in range(40)] + [b"last"]


def test_what_cannot_be_written_is_told_later(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = OutputWriter(*places, 1 << 20)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        writer.write("stdout", b"lost\n")
    writer.write("stdout", b"kept\n")
    pieces = list(read(*places, None, b""))
    assert text_of(pieces) == b"kept\n"
    assert text_of(pieces, b"stderr") == b"udocker: 5 bytes of output could not be kept\n"


def test_a_line_that_a_crash_cut_short_is_passed_over(places: tuple[Path, Path]) -> None:
    OutputWriter(*places, 1 << 20).write("stdout", b"whole\n")
    with open(places[0], "ab") as file:
        file.write(b"2026-01-01T00\n")
    assert text_of(list(read(*places, None, b""))) == b"whole\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T12:00:00Z", b"2026-01-31T12:00:00.000000"),
        ("2026-01-31T12:00:00.250+01:00", b"2026-01-31T11:00:00.250000"),
        ("0", b"1970-01-01T00:00:00.000000"),
        ("10.5", b"1970-01-01T00:00:10.500000"),
        ("", b""),
    ],
)
def test_a_time_is_read_as_docker_reads_it(text: str, expected: bytes) -> None:
    assert _since(text) == expected


def test_a_duration_is_before_now() -> None:
    assert _since("2h") < _since("1h30m") < _since("10s")


@pytest.mark.parametrize("text", ["yesterday", "1x", "2026-13-01", "99999999999999999999"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a time"):
        _since(text)


@pytest.mark.parametrize("text", ["-1", "x", "", "1.5"])
def test_what_is_no_number_of_lines_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a number of lines"):
        _tail(text)
