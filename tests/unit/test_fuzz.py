"""The fuzzers' targets for a short time, with the same input each time; ``make fuzz`` goes on from there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.targets import SEEDS, TARGETS, attempt

COUNT = {"unpack": 400, "load": 150, "clone": 150}  # the others take no time


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
