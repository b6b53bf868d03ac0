"""The fuzzers' targets for a short time, with the same input each time; ``make fuzz`` goes on from there."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.targets import SEEDS, TARGETS, attempt
from tests.services.images import file, member, tar_of
from udocker.errors import UnpackError
from udocker.store.unpack import unpack_layers

COUNT = {"unpack": 250, "load": 60, "clone": 60}  # the others take no time


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_stands_its_seeds_and_what_grows_from_them(tmp_path: Path, name: str) -> None:
    for number, data in enumerate(grown(name)):
        try:
            attempt(name, data, tmp_path)
        except Exception as error:
            raise AssertionError(f"input {number}: {data!r}") from error


def grown(name: str) -> Iterator[bytes]:
    """The seeds, and changes of them: bytes replaced, inserted, taken away, repeated."""
    yield from SEEDS[name]
    chance = random.Random(name)
    for _ in range(COUNT.get(name, 1000)):
        data = bytearray(chance.choice(SEEDS[name]))
        for _ in range(chance.randrange(1, 8)):
            at = chance.randrange(len(data) + 1)
            piece = chance.choice((chance.randbytes(1), chance.randbytes(4), bytes(data[:at][-20:])))
            data[at : at + chance.randrange(0, 6)] = piece
        yield bytes(data)


def test_a_record_of_a_header_without_its_length_is_an_error(tmp_path: Path) -> None:
    """The fuzzers' first catch: it was read again and again."""
    (tmp_path / "layer").write_bytes(tar_of([member("x", tarfile.XHDTYPE, b"path=longer-than-nothing\n")]))
    (tmp_path / "root").mkdir()
    with pytest.raises(UnpackError, match="damaged"):
        unpack_layers([tmp_path / "layer"], tmp_path / "root")


def test_an_archive_may_end_with_its_last_byte_of_data_and_not_before(tmp_path: Path) -> None:
    """Go's archive/tar leaves such archives where nobody closes its writer."""
    whole = tar_of([file("a", b"1" * 700), file("b", b"2" * 700)])[: 3 * 512 + 512 + 700]
    for number, cut in enumerate((0, 1, 600)):
        (tmp_path / "layer").write_bytes(whole[: len(whole) - cut])
        root = tmp_path / f"root{number}"
        root.mkdir()
        if cut:
            with pytest.raises(UnpackError, match="in the middle of a member"):
                unpack_layers([tmp_path / "layer"], root)
        else:
            unpack_layers([tmp_path / "layer"], root)
            assert (root / "b").read_bytes() == b"2" * 700
