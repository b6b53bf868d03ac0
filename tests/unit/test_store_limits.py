"""What images may ask for, and how they are told that it is too much."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
import zstandard

from tests.services.images import Member, compress, directory, file, symlink, tar_of
from udocker.config import Config
from udocker.errors import ConfigError, StoreError, UnpackError
from udocker.store.limits import Limits
from udocker.store.members import Members, check_tree
from udocker.store.unpack import unpack_layers

KINDS = ["plain", "gzip", "zstd"]
MIB = 1 << 20


def unpack(directory: Path, data: bytes, limits: Limits, count: int = 1) -> Path:
    """Unpack one layer ``count`` times over."""
    root = directory / "root"
    root.mkdir()
    (directory / "sha256:layer").write_bytes(data)
    unpack_layers([directory / "sha256:layer"] * count, root, limits)
    return root


def refused(directory: Path, data: bytes, limits: Limits, setting: str, count: int = 1) -> None:
    """The error names the layer, and the setting."""
    with pytest.raises(UnpackError, match="layer sha256:layer") as caught:
        unpack(directory, data, limits, count)
    assert f"UDOCKER_MAX_{setting}" in caught.value.hint
    assert "\n" not in str(caught.value)


def layer(members: list[Member], kind: str = "plain") -> bytes:
    return compress(tar_of(members), kind)


def test_the_members_of_all_layers_count(tmp_path: Path) -> None:
    data = layer([directory("a"), file("a/x"), file("a/y")])
    refused(tmp_path, data, Limits(files=5), "FILES", count=2)


def test_as_many_members_as_there_may_be_are_taken(tmp_path: Path) -> None:
    data = layer([directory("a"), file("a/x"), file("a/y")])
    assert (unpack(tmp_path, data, Limits(files=6), count=2) / "a/y").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_bytes_of_all_layers_count_before_they_are_written(tmp_path: Path, kind: str) -> None:
    data = layer([file("x", os.urandom(MIB)), file("y", os.urandom(MIB))], kind)
    refused(tmp_path, data, Limits(size=3 * MIB), "BYTES", count=2)
    assert sum(path.stat().st_size for path in (tmp_path / "root").iterdir()) <= 3 * MIB


def test_a_member_that_claims_to_be_huge_is_refused_at_once(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.size = 1 << 60
    refused(tmp_path, info.tobuf(tarfile.GNU_FORMAT), Limits(), "BYTES")


def test_extended_headers_count_as_bytes_and_members(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1000
    record = b"1000 comment=" + b"c" * 986 + b"\n"
    chain = (info.tobuf(tarfile.USTAR_FORMAT) + record.ljust(1024, b"\0")) * 50
    for limits, setting in ((Limits(size=20_000), "BYTES"), (Limits(files=20), "FILES")):
        place = tmp_path / setting
        place.mkdir()
        refused(place, chain, limits, setting)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_what_unpacks_to_far_more_than_it_is_gets_refused(tmp_path: Path, kind: str) -> None:
    data = layer([file("zeros", bytes(16 * MIB))], kind)
    refused(tmp_path, data, Limits(ratio=50, ratio_from=4 * MIB), "RATIO")
    assert (tmp_path / "root/zeros").stat().st_size <= 8 * MIB


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_in_extended_headers_is_refused(tmp_path: Path, kind: str) -> None:
    members = [file(f"f{number}", pax_headers={"comment": "x" * (MIB // 2)}) for number in range(32)]
    refused(tmp_path, layer(members, kind), Limits(ratio=50, ratio_from=4 * MIB), "RATIO")


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_of_several_compressed_pieces_is_refused(tmp_path: Path, kind: str) -> None:
    data = tar_of([file("zeros", bytes(16 * MIB))])
    pieces = b"".join(compress(data[at : at + MIB], kind) for at in range(0, len(data), MIB))
    refused(tmp_path, pieces, Limits(ratio=50, ratio_from=4 * MIB), "RATIO")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_well_compressed_but_small_is_taken(tmp_path: Path, kind: str) -> None:
    root = unpack(tmp_path, layer([file("zeros", bytes(16 * MIB))], kind), Limits(ratio=50))
    assert (root / "zeros").stat().st_size == 16 * MIB


def test_directories_may_be_as_deep_as_the_limit_and_no_deeper(tmp_path: Path) -> None:
    root = unpack(tmp_path, layer([file("/".join("d" * 9) + "/f")]), Limits(depth=10))
    assert (root / "/".join("d" * 9) / "f").is_file()
    (tmp_path / "deeper").mkdir()
    refused(tmp_path / "deeper", layer([file("/".join("d" * 10) + "/f")]), Limits(depth=10), "DEPTH")


def test_links_do_not_make_trees_deeper_than_the_limit(tmp_path: Path) -> None:
    deep = "/".join("d" * 8)
    members = [directory(deep), symlink("l", deep), file("l/e/e/e/f")]
    refused(tmp_path, layer(members), Limits(depth=10), "DEPTH")


def test_a_name_longer_than_the_limit_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, layer([file("/".join(["n" * 200] * 30))]), Limits(), "NAME")


def test_a_name_that_the_file_system_has_no_room_for_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="too long") as caught:
        unpack(tmp_path, layer([file("n" * 300)]), Limits())
    assert "n" * 100 in str(caught.value)


def test_the_window_of_zstd_may_be_what_zstd_itself_takes(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27, enable_ldm=True)
    data = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = data.compress(tar_of([file("x", b"x")])) + data.flush()
    assert (unpack(tmp_path, packed, Limits()) / "x").read_bytes() == b"x"


def test_an_absurd_window_of_zstd_is_refused(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=30)
    data = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = data.compress(tar_of([file("x", b"x")])) + data.flush()
    with pytest.raises(UnpackError, match="memory"):
        unpack(tmp_path, packed, Limits())


@pytest.mark.parametrize(
    ("limits", "setting"),
    [(Limits(size=MIB), "BYTES"), (Limits(files=2), "FILES"), (Limits(ratio=20, ratio_from=MIB), "RATIO")],
)
def test_archives_to_load_or_import_have_the_same_limits(
    tmp_path: Path, limits: Limits, setting: str
) -> None:
    data = layer([file(name, bytes(2 * MIB)) for name in "abc"], "gzip")
    with pytest.raises(UnpackError) as caught:
        Members.read_from(io.BytesIO(data), tmp_path, limits)
    assert f"UDOCKER_MAX_{setting}" in caught.value.hint
    (tmp_path / "tree").write_bytes(data)
    with pytest.raises(UnpackError) as caught:
        check_tree(tmp_path / "tree", limits)
    assert f"UDOCKER_MAX_{setting}" in caught.value.hint


def test_an_empty_file_is_no_archive_to_import(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(UnpackError, match="empty"):
        check_tree(tmp_path / "empty")


def test_limits_are_set_by_variables_with_units() -> None:
    names = {"FILES": "7", "BYTES": "20G", "DEPTH": "600", "NAME": "1k", "RATIO": "2M"}
    config = Config.from_environment({"HOME": "/h", **{f"UDOCKER_MAX_{key}": names[key] for key in names}})
    assert Limits.of(config) == Limits(7, 20 << 30, 600, 1024, 2 << 20)
    assert Limits.of(Config.from_environment({"HOME": "/h"})) == Limits()


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "10K", "10 G", "G", "1e9", "٣", "0x10", "1GB"])
def test_limits_that_are_no_numbers_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="UDOCKER_MAX_BYTES"):
        Config.from_environment({"HOME": "/h", "UDOCKER_MAX_BYTES": text})


def test_a_depth_that_descriptors_do_not_last_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="UDOCKER_MAX_DEPTH"):
        Config.from_environment({"HOME": "/h", "UDOCKER_MAX_DEPTH": "801"})
