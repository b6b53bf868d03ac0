"""What ``udocker setup`` keeps and mends in a container's directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from udocker.errors import StoreCorrupt, StoreError
from udocker.model.mode import ExecutionMode
from udocker.store.execmode import read_mode, set_nvidia, wants_nvidia, write_mode
from udocker.store.purge import make_usable, purge


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "ROOT/etc").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("mode", list(ExecutionMode))
def test_a_mode_is_kept_in_udockers_file(directory: Path, mode: ExecutionMode) -> None:
    assert read_mode(directory) is None
    write_mode(directory, mode, 0o640)
    assert (directory / "execmode").read_text() == mode.value
    assert (directory / "execmode").stat().st_mode & 0o777 == 0o640
    assert read_mode(directory) is mode


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_record_is_none(directory: Path, text: str) -> None:
    (directory / "execmode").write_text(text)
    assert read_mode(directory) is None


@pytest.mark.parametrize("data", [b"X9", b"\xff\xfe", b"R1 R1", b"R" * 10**6])
def test_a_record_that_nobody_knows_is_told_by_its_file(directory: Path, data: bytes) -> None:
    (directory / "execmode").write_bytes(data)
    with pytest.raises(StoreCorrupt, match="execmode"):
        read_mode(directory)


def test_nvidia_is_kept_in_udockers_file(directory: Path) -> None:
    assert not wants_nvidia(directory)
    set_nvidia(directory, 0o600)
    assert wants_nvidia(directory)
    assert (directory / "nvidia").exists()


def park(directory: Path, name: str, content: str) -> Path:
    (directory / ".bind_orig_files").mkdir(exist_ok=True)
    (directory / "ROOT/.bind_host_files").mkdir(exist_ok=True)
    file = directory / ".bind_orig_files" / name
    file.write_text(content)
    return file


def test_purge_puts_back_what_was_put_away(directory: Path) -> None:
    etc = directory / "ROOT/etc"
    for name in ("passwd", "hosts"):
        park(directory, f"#etc#{name}", "original\n")
    (etc / "passwd").symlink_to("/.bind_host_files/#etc#passwd")
    (etc / "hosts").write_text("new\n")
    purge(directory)
    assert ((etc / "passwd").read_text(), (etc / "passwd").is_symlink()) == ("original\n", False)
    assert (etc / "hosts").read_text() == "new\n"
    assert not (directory / ".bind_orig_files").exists()
    assert not (directory / "ROOT/.bind_host_files").exists()
    purge(directory)  # and a second time


@pytest.mark.parametrize("name", ["#..#..#victim", "#link#victim"])
def test_purge_never_leaves_the_container(
    directory: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (directory / "ROOT/link").symlink_to(outside)
    (outside / "victim").symlink_to("/kept")
    park(directory, name, "evil\n")
    try:
        purge(directory)
    except StoreError:
        pass  # refused, or kept inside: both are right
    assert os.readlink(outside / "victim") == "/kept"
    assert not os.path.lexists(directory.parent / "victim")


def test_purge_removes_empty_mount_points_only(directory: Path) -> None:
    records, root = directory / ".mountpoints", directory / "ROOT"
    records.mkdir()
    for path in ("made/deep/empty", "made/full", "kept"):
        (root / path).mkdir(parents=True)
    (root / "made/full/file").write_text("content")
    (root / "etc/empty").touch()
    for name, before in (
        ("#made#deep#empty", "#"),
        ("#made#full", "#"),
        ("#kept#gone", "#kept"),
        ("#etc#empty", "#etc"),
    ):
        (records / name).symlink_to(before)
    purge(directory)
    assert sorted(path.name for path in root.iterdir()) == ["etc", "kept", "made"]
    assert (root / "made/full/file").read_text() == "content"
    assert not (root / "made/deep").exists()
    assert list((root / "etc").iterdir()) == []
    assert not records.exists()


def test_permissions_are_mended_without_following_links(
    directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "file"
    outside.touch(0o400)
    root = directory / "ROOT"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/file").touch()
    (root / "a/b/program").touch(0o755)
    (root / "a/link").symlink_to(outside)
    os.mkfifo(root / "a/fifo", 0o200)
    (root / "a/b/file").chmod(0o044)
    for path in ("a/b", "a"):
        (root / path).chmod(0)
    make_usable(root)
    assert (root / "a").stat().st_mode & 0o777 == 0o700
    assert (root / "a/b/file").stat().st_mode & 0o777 == 0o644
    assert (root / "a/b/program").stat().st_mode & 0o777 == 0o755
    assert (root / "a/fifo").stat().st_mode & 0o777 == 0o200
    assert outside.stat().st_mode & 0o777 == 0o400


def test_a_record_that_cannot_be_written_is_told(directory: Path) -> None:
    with pytest.raises(StoreError, match="setup"):
        set_nvidia(directory / "nosuch", 0o600)
