"""Uncompressed layers, whose files several processes write: nothing may depend on which one does."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.images import Member, directory, file, hardlink, symlink, whiteout
from tests.unit.box import MEMBERS, Box, contents
from udocker.errors import StoreError, UnpackError
from udocker.store import writers


@pytest.fixture
def box(tmp_path: Path) -> Box:
    path = tmp_path / "box"
    path.mkdir()
    return Box(path)


def many(count: int, prefix: str = "f", size: int = 5000) -> list[Member]:
    """Enough files for several processes, in several directories."""
    return [file(f"d{number % 7}/{prefix}{number}", b"%d" % number * (size // 4)) for number in range(count)]


def several(monkeypatch: pytest.MonkeyPatch, files: int = 64) -> None:
    """Have several processes write, with ``files`` at a time, on machines with one core as well."""
    monkeypatch.setattr(writers, "_BATCH_FILES", files)
    monkeypatch.setattr("udocker.store.unpack.cores", lambda: 3)
    monkeypatch.setattr(writers, "cores", lambda: 3)


def test_many_files_of_uncompressed_layers_arrive_whoever_writes_them(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    several(monkeypatch)
    layers = [
        [*many(1500), symlink("e", "d1"), hardlink("d2/twin", "d1/f1"), *many(500, "g")],
        [*many(900), file("e/f1", b"through a link"), whiteout("d3"), file("d3/new", b"")],
    ]
    root = box.apply(*layers)
    (box.path.parent / "other" / "box").mkdir(parents=True)
    other = Box(box.path.parent / "other" / "box").apply(*layers, compression="gzip")
    assert contents(root) == contents(other)
    assert len(contents(root)) > 1700


@pytest.mark.parametrize(
    "members",
    [
        [file("a", b""), file("a/b", b"")],
        [file("a", b""), directory("a/b")],
        [file("a", b""), symlink("a/b", "c")],
        [file("a", b""), whiteout("a/b")],
    ],
)
def test_a_parent_that_is_a_file_is_refused_whoever_writes_it(
    box: Box, monkeypatch: pytest.MonkeyPatch, members: list[Member]
) -> None:
    several(monkeypatch, 1)
    with pytest.raises(UnpackError, match="not a directory"):
        box.apply([file("first")], [*many(20), *members])


def test_an_error_of_another_process_names_the_file(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    several(monkeypatch, 1)
    with pytest.raises(StoreError, match="d0/nnn.*too long"):
        box.apply([*many(10), file("d0/" + "n" * 300), *many(10, "g")])


def test_no_process_is_left_when_a_layer_is_refused(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    several(monkeypatch, 1)
    before = psutil.Process().children()  # of other tests
    with pytest.raises(UnpackError):
        box.apply([*many(300), file("../x")])
    assert [child for child in psutil.Process().children() if child not in before] == []


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(layers=st.lists(st.lists(MEMBERS, max_size=6), min_size=1, max_size=3))
def test_the_tree_is_the_same_whoever_writes_its_files(tmp_path_factory, layers) -> None:
    outcomes = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        several(monkeypatch, 1)
        for compression in ("plain", "gzip"):
            path = tmp_path_factory.mktemp("who") / "box"
            path.mkdir()
            box = Box(path)
            refusal = ""
            try:
                box.apply(*layers, compression=compression)
            except StoreError as error:
                refusal = type(error).__name__
            outcomes.append((refusal, {} if refusal else contents(box.root)))
    assert outcomes[0] == outcomes[1]
