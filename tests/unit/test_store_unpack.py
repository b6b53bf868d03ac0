"""Layers applied to a root: what arrives, and that nothing ever leaves."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.images import (
    compress,
    directory,
    file,
    hardlink,
    member,
    opaque,
    symlink,
    tar_of,
    whiteout,
)
from tests.unit.box import MEMBERS, Box, names
from udocker.errors import StoreError, UnpackError
from udocker.store.unpack import unpack_layers


@pytest.fixture
def box(tmp_path: Path) -> Box:
    path = tmp_path / "box"
    path.mkdir()
    return Box(path)


@pytest.mark.parametrize("compression", ["plain", "gzip", "zstd"])
def test_files_directories_and_links_arrive_whatever_the_compression(box: Box, compression: str) -> None:
    root = box.apply(
        [
            directory("etc", 0o750),
            file("etc/motd", b"hello\n" * 100_000, 0o644),
            symlink("etc/link", "/etc/motd"),
            hardlink("etc/same", "etc/motd"),
            member("run/pipe", tarfile.FIFOTYPE, mode=0o600),
        ],
        compression=compression,
    )
    assert (root / "etc/motd").read_bytes() == b"hello\n" * 100_000
    assert os.readlink(root / "etc/link") == "/etc/motd"
    assert os.path.samefile(root / "etc/same", root / "etc/motd")
    assert stat.S_ISFIFO((root / "run/pipe").lstat().st_mode)
    assert stat.S_IMODE((root / "etc").stat().st_mode) == 0o750
    assert (root / "etc/motd").stat().st_mtime == 1_000_000_000
    assert (root / "etc").stat().st_mtime == 1_000_000_000


def test_set_user_id_is_dropped_and_the_owner_can_use_everything(box: Box) -> None:
    root = box.apply([file("su", b"x", 0o4755), directory("closed", 0o000), file("closed/f", b"", 0o000)])
    assert stat.S_IMODE((root / "su").stat().st_mode) == 0o755
    assert stat.S_IMODE((root / "closed").stat().st_mode) == 0o700
    assert stat.S_IMODE((root / "closed/f").stat().st_mode) == 0o600


def test_world_writable_modes_survive_the_umask(box: Box) -> None:
    root = box.apply([directory("tmp", 0o1777), file("shared", b"", 0o666)])
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    assert stat.S_IMODE((root / "shared").stat().st_mode) == 0o666


def test_device_nodes_are_skipped(box: Box) -> None:
    root = box.apply([member("dev/null", tarfile.CHRTYPE, devmajor=1, devminor=3), file("x")])
    assert names(root) == {"x"}


def test_sparse_files_keep_their_holes(box: Box, tmp_path: Path) -> None:
    source = tmp_path / "sparse"
    with source.open("wb") as stream:
        stream.truncate(64 << 20)
        stream.seek(32 << 20)
        stream.write(b"middle")
    os.system(f"tar -C {tmp_path} --sparse -cf {tmp_path}/s.tar sparse")
    unpack_layers([tmp_path / "s.tar"], box.root)
    unpacked = box.root / "sparse"
    assert unpacked.stat().st_size == 64 << 20
    assert unpacked.read_bytes()[32 << 20 :].startswith(b"middle\0")
    assert unpacked.stat().st_blocks * 512 < 1 << 20


def test_a_whiteout_removes_what_a_lower_layer_has(box: Box) -> None:
    lower = [file("a/one", b"1"), file("a/two", b"2"), file("b/deep/x", b"")]
    root = box.apply(lower, [whiteout("a/one"), whiteout("b")])
    assert names(root) == {"a", "a/two"}


def test_a_whiteout_spares_what_its_own_layer_made(box: Box) -> None:
    root = box.apply([file("a/old", b"")], [file("a/new", b""), whiteout("a"), file("late", b"")])
    assert names(root) == {"a", "a/new", "late"}


def test_an_opaque_directory_hides_the_lower_content_only(box: Box) -> None:
    lower = [file("d/old", b""), file("d/sub/old", b""), file("keep", b"")]
    root = box.apply(lower, [file("d/new", b""), opaque("d"), file("d/sub/new", b"")])
    assert names(root) == {"d", "d/new", "d/sub", "d/sub/new", "keep"}


def test_whiteouts_of_what_is_not_there_are_fine(box: Box) -> None:
    root = box.apply([whiteout("no/such"), whiteout("none"), opaque("nowhere"), file("x")])
    assert names(root) == {"x"}


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh...", "../.wh.canary", "a/../../.wh.x"])
def test_a_whiteout_of_a_parent_is_refused(box: Box, name: str) -> None:
    with pytest.raises(UnpackError):
        box.apply([file("a/x")], [file(name)])


def test_a_file_replaces_a_directory_and_a_directory_a_file(box: Box) -> None:
    root = box.apply([file("a/x", b""), file("b", b"")], [file("a", b"now"), directory("b"), file("b/y")])
    assert (root / "a").read_bytes() == b"now"
    assert names(root) == {"a", "b", "b/y"}


def test_an_overwritten_hard_link_leaves_its_twin_alone(box: Box) -> None:
    root = box.apply([file("one", b"old"), hardlink("two", "one")], [file("one", b"new")])
    assert ((root / "one").read_bytes(), (root / "two").read_bytes()) == (b"new", b"old")


def test_a_symlinked_parent_leads_where_the_container_would_see_it(box: Box) -> None:
    root = box.apply([directory("usr/lib"), symlink("lib", "usr/lib")], [file("lib/x", b"in")])
    assert (root / "usr/lib/x").read_bytes() == b"in"
    assert (root / "lib").is_symlink()


def test_a_file_beneath_an_absolute_symlink_lands_inside_the_root(box: Box) -> None:
    root = box.apply([symlink("out", str(box.canary))], [file("out/file", b"evil"), file("out/new", b"evil")])
    assert (root / str(box.canary).lstrip("/") / "file").read_bytes() == b"evil"


def test_a_file_beneath_a_relative_symlink_upwards_is_clamped(box: Box) -> None:
    root = box.apply([symlink("a/b/up", "../../../../../../../tmp")], [file("a/b/up/x", b"in")])
    assert (root / "tmp/x").read_bytes() == b"in"


def test_a_directory_member_replaces_a_symlink_of_a_lower_layer(box: Box) -> None:
    root = box.apply([symlink("d", str(box.canary))], [directory("d"), file("d/file", b"mine")])
    assert not (root / "d").is_symlink()
    assert (root / "d/file").read_bytes() == b"mine"


def test_a_file_member_never_writes_through_a_symlink(box: Box) -> None:
    root = box.apply([symlink("f", str(box.canary / "file"))], [file("f", b"mine")])
    assert not (root / "f").is_symlink()
    assert (root / "f").read_bytes() == b"mine"


@pytest.mark.parametrize("target", ["/etc/passwd", "../canary/file", "a/../../canary/file", "up/canary/file"])
def test_a_hard_link_to_a_host_file_is_refused(box: Box, target: str) -> None:
    with pytest.raises(UnpackError):
        box.apply([symlink("up", ".."), hardlink("stolen", target)])
    assert "stolen" not in names(box.root)


def test_a_hard_link_through_a_symlink_stays_inside(box: Box) -> None:
    with pytest.raises(UnpackError):
        box.apply([symlink("link", str(box.canary))], [hardlink("stolen", "link/file")])


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "..", "/../evil"])
def test_a_name_that_leads_out_is_refused(box: Box, name: str) -> None:
    with pytest.raises(UnpackError, match="leads out"):
        box.apply([file(name, b"evil")])


def test_an_absolute_name_is_taken_from_the_root(box: Box) -> None:
    assert names(box.apply([file("/etc/x", b"")])) == {"etc", "etc/x"}


def test_a_loop_of_symlinks_is_refused(box: Box) -> None:
    with pytest.raises(UnpackError, match="symbolic links"):
        box.apply([symlink("a", "b"), symlink("b", "a"), file("a/x")])


def test_a_parent_that_is_a_file_is_refused(box: Box) -> None:
    with pytest.raises(UnpackError, match="not a directory"):
        box.apply([file("a", b""), file("a/b", b"")])


def test_names_of_any_bytes_arrive(box: Box) -> None:
    odd = [b"new\nline", b"sp ace", b"\xff\xfe", "ümlaut".encode(), b"-rf", b"*?[", b"a" * 255]
    root = box.apply([file(os.fsdecode(name), name) for name in odd])
    assert {name: Path(os.fsdecode(os.fsencode(root) + b"/" + name)).read_bytes() for name in odd} == {
        name: name for name in odd
    }


def test_a_very_deep_tree_is_refused_in_one_line_and_can_be_removed(box: Box) -> None:
    with pytest.raises(UnpackError, match="directories deep"):
        box.apply([file("/".join(["d"] * 3000), b"")])


def test_a_member_whose_header_is_damaged_is_an_error_not_the_end(box: Box, tmp_path: Path) -> None:
    data = bytearray(tar_of([file("one", b"1"), file("two", b"2")]))
    data[1024 + 150] ^= 0xFF  # in the second header's checksum
    path = tmp_path / "damaged.tar"
    path.write_bytes(data)
    with pytest.raises(UnpackError):
        unpack_layers([path], box.root)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_data_that_breaks_off_is_an_error(box: Box, tmp_path: Path, compression: str) -> None:
    data = compress(tar_of([file("x", os.urandom(300_000))]), compression)
    path = tmp_path / "cut"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UnpackError):
        unpack_layers([path], box.root)


def test_a_file_that_is_no_archive_is_an_error(box: Box, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(UnpackError):
        unpack_layers([path], box.root)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(layers=st.lists(st.lists(MEMBERS, max_size=6), min_size=1, max_size=3))
def test_no_layers_whatever_they_hold_change_anything_outside(tmp_path_factory, layers) -> None:
    path = tmp_path_factory.mktemp("hostile") / "box"
    path.mkdir()
    box = Box(path)
    try:
        box.apply(*layers)  # asserts that all outside is as it was
    except StoreError:
        pass  # refused, which is as good
    for found in box.root.rglob("*"):
        if found.is_file() and not found.is_symlink():
            assert found.stat().st_ino != (box.canary / "file").stat().st_ino


def xattrs_of(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith("user.")}


def test_attributes_of_the_user_arrive_and_others_are_left_out(box: Box) -> None:
    probe = box.canary / "file"
    try:
        os.setxattr(probe, "user.probe", b"")
    except OSError:
        pytest.skip("needs a file system with extended attributes, as tmpfs has since Linux 6.6: set TMPDIR")
    os.removexattr(probe, "user.probe")
    headers = {
        "SCHILY.xattr.user.note": "a\nb=c",
        "SCHILY.xattr.user.overlay.opaque": "y",
        "SCHILY.xattr.security.capability": "\1\0\0\2",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
    }
    root = box.apply([directory("d", pax_headers=headers), file("d/f", b"x", pax_headers=headers)])
    for path in (root / "d", root / "d/f"):
        assert xattrs_of(path) == {"user.note": b"a\nb=c"}
        assert not [name for name in os.listxattr(path) if name.startswith(("trusted.", "security.cap"))]


def test_a_parent_replaced_by_a_link_in_a_later_layer_leads_nowhere_else(box: Box) -> None:
    lower = [directory("d"), file("d/file", b"old")]
    root = box.apply(
        lower, [symlink("d", str(box.canary)), file("d/file", b"evil")], [file("d/new", b"evil")]
    )
    assert (root / "d").is_symlink()
    assert (root / str(box.canary).lstrip("/") / "new").read_bytes() == b"evil"


def test_a_parent_replaced_within_a_layer_leads_nowhere_else(box: Box) -> None:
    root = box.apply(
        [file("d/a", b""), symlink("d", str(box.canary)), file("d/file", b"evil"), directory("d")]
    )
    assert (root / "d").is_dir() and not (root / "d").is_symlink()


def test_a_whiteout_beneath_a_link_stays_inside(box: Box) -> None:
    root = box.apply([symlink("out", str(box.canary))], [whiteout("out/file"), opaque("out")])
    assert names(root) == {"out"}


def test_a_layer_without_zeros_at_its_end_is_whole(box: Box) -> None:
    data = tar_of([file("x", b"1")])
    layer = box.path.parent / "layer"
    layer.write_bytes(data[:1024])
    unpack_layers([layer], box.root)
    assert (box.root / "x").read_bytes() == b"1"


def test_a_fifo_and_a_link_replace_what_is_there(box: Box) -> None:
    root = box.apply([file("p", b""), file("l", b"")], [member("p", tarfile.FIFOTYPE), symlink("l", "p")])
    assert stat.S_ISFIFO((root / "p").lstat().st_mode)
    assert os.readlink(root / "l") == "p"


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory_is_refused(box: Box, kind: bytes) -> None:
    info = tarfile.TarInfo("h")
    info.type, info.size = kind, 1 << 40
    layer = box.path.parent / "layer-huge"
    layer.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16))
    with pytest.raises(UnpackError, match="a header of"):
        unpack_layers([layer], box.root)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_archive_raises_nothing_but_our_errors(tmp_path_factory, data) -> None:
    original = tar_of([directory("d"), file("d/f", b"x" * 700), symlink("l", "d"), hardlink("h", "d/f")])
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "box"
    path.mkdir()
    box = Box(path)
    (path.parent / "layer").write_bytes(damaged)
    try:
        unpack_layers([path.parent / "layer"], box.root)
    except StoreError:
        pass
    assert (box.canary / "file").read_text() == "untouched"
