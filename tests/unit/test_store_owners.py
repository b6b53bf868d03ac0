"""Whose files are: kept from layers, over later layers, in copies and in archives."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from udocker.store.owners import ATTRIBUTE, Owner, host_mode, owner_text, read_owner
from udocker.store.treetar import write_tree
from udocker.store.unpack import unpack_layers
from udocker.system.copy import copy_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty root, on a file system that takes attributes."""
    made = tmp_path / "ROOT"
    made.mkdir()
    try:
        os.setxattr(made, "user.probe", b"")
    except OSError as error:
        pytest.skip(f"needs a file system with extended attributes: {error.strerror}")
    os.removexattr(made, "user.probe")
    return made


def member(name: str, mode: int, uid: int = 0, gid: int = 0, **more: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid = mode, uid, gid
    for key, value in more.items():
        setattr(info, key, value)
    return info


def layer(path: Path, *members: tarfile.TarInfo, pax: bool = False) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT) as archive:
        for one in members:
            archive.addfile(one, io.BytesIO(bytes(one.size)))
    return path


def written(path: Path) -> bytes:
    try:
        return os.getxattr(path, ATTRIBUTE, follow_symlinks=False)
    except OSError:
        return b""


FOLDER = tarfile.DIRTYPE


def test_files_of_others_than_root_and_modes_that_the_host_has_not_are_written_down(
    root: Path, tmp_path: Path
) -> None:
    members = [
        member("mail", 0o2775, 0, 8, type=FOLDER),
        member("su", 0o4755, size=3),
        member("shadow", 0o640, 0, 42, size=3),
        member("closed", 0o000, size=3),
        member("plain", 0o644, size=3),
        member("folder", 0o755, type=FOLDER),
        member("link", 0o777, 5, 6, type=tarfile.SYMTYPE, linkname="plain"),
    ]
    unpack_layers([layer(tmp_path / "layer", *members)], root)
    assert {path.name: written(path) for path in root.iterdir()} == {
        "mail": b"0:8:42775:0",
        "su": b"0:0:104755:0",
        "shadow": b"0:42:0:0",
        "closed": b"0:0:100000:0",
        **dict.fromkeys(("plain", "folder", "link"), b""),
    }
    modes = {path.name: path.stat().st_mode & 0o7777 for path in root.iterdir()}
    assert (modes["mail"], modes["su"], modes["shadow"], modes["closed"]) == (0o775, 0o755, 0o640, 0o600)


def test_large_numbers_are_kept_and_nonsense_is_roots(root: Path, tmp_path: Path) -> None:
    members = [
        member("high", 0o644, 2**32 - 2, 3_000_000),
        member("pax", 0o644, 0, 0, pax_headers={"uid": "70000", "gid": "x"}),
        member("none", 0o644, 2**32 - 1, 7),
    ]
    unpack_layers([layer(tmp_path / "layer", *members, pax=True)], root)
    assert written(root / "high") == b"4294967294:3000000:0:0"
    assert written(root / "pax") == b"70000:0:0:0"
    assert written(root / "none") == b""


def test_a_later_layer_decides(root: Path, tmp_path: Path) -> None:
    first = layer(
        tmp_path / "first",
        member("a", 0o755, 7, 7, type=FOLDER),
        member("b", 0o755, 0, 0, type=FOLDER),
        member("a/file", 0o644, 7, 7),
    )
    second = layer(
        tmp_path / "second",
        member("a", 0o755, 0, 0, type=FOLDER),
        member("b", 0o755, 9, 9, type=FOLDER),
        member("a/file", 0o644, 0, 0),
    )
    unpack_layers([first, second], root)
    assert (written(root / "a"), written(root / "b")) == (b"", b"9:9:0:0")
    assert written(root / "a/file") == b""


def test_no_archive_brings_such_an_attribute_of_its_own(root: Path, tmp_path: Path) -> None:
    headers = {f"SCHILY.xattr.{name}": "7:7:104755:0" for name in ("user.udocker.owner", "user.udocker.more")}
    members = [
        member("file", 0o644, pax_headers=headers),
        member("folder", 0o755, type=FOLDER, pax_headers=headers),
    ]
    unpack_layers([layer(tmp_path / "layer", *members, pax=True)], root)
    for name in ("file", "folder"):
        assert [name for name in os.listxattr(root / name) if name.startswith("user.")] == []


def test_copies_and_archives_have_the_same_owners(root: Path, tmp_path: Path) -> None:
    members = [
        member("mail", 0o2775, 0, 8, type=FOLDER),
        member("mail/box", 0o600, 1000, 8, size=3),
        member("su", 0o4755, size=3),
    ]
    unpack_layers([layer(tmp_path / "layer", *members)], root)
    (root / "node").touch(0o600)
    os.setxattr(root / "node", ATTRIBUTE, b"0:6:60660:2049")
    copy_tree(root, tmp_path / "copy")
    stream = io.BytesIO()
    write_tree(tmp_path / "copy", stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        found = {info.name: (info.uid, info.gid, info.mode) for info in archive}
        node = archive.getmember("node")
    assert found == {
        "mail": (0, 8, 0o2775),
        "mail/box": (1000, 8, 0o600),
        "su": (0, 0, 0o4755),
        "node": (0, 6, 0o660),
    }
    assert (node.type, node.devmajor, node.devminor) == (tarfile.BLKTYPE, 8, 1)


def test_no_attribute_that_a_program_wrote_keeps_a_container_from_being_packed(root: Path) -> None:
    devices = [os.makedev(2**12 - 1, 2**20 - 1), 2**48, 2**64, 2**70]
    for number, device in enumerate(devices):
        (root / f"{number}").touch(0o600)
        os.setxattr(root / f"{number}", ATTRIBUTE, b"4294967294:4294967294:60660:%d" % device)
    stream = io.BytesIO()
    write_tree(root, stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        found = {info.name: (info.uid, info.type, info.devmajor, info.devminor) for info in archive}
    nothing = (0, tarfile.REGTYPE, 0, 0)
    assert found == {
        "0": (2**32 - 2, tarfile.BLKTYPE, 2**12 - 1, 2**20 - 1),
        **{f"{number}": nothing for number in range(1, len(devices))},
    }


def test_permissions_that_somebody_changed_on_the_host_are_the_right_ones(root: Path) -> None:
    file = root / "file"
    file.touch(0o600)
    os.setxattr(file, ATTRIBUTE, b"1:2:100000:0")
    assert read_owner(os.fspath(file), file.lstat()) == Owner(1, 2, 0o100000, 0)
    file.chmod(0o644)
    assert read_owner(os.fspath(file), file.lstat()) == Owner(1, 2, 0o100644, 0)
    nodes = (b"1:2:20660:%d" % os.makedev(2**12, 1), b"1:2:20660:%d" % os.makedev(1, 2**20))
    texts = (b"", b"1", b"a:b:c:d", b"1:2:9:0", b"\xff" * 60, b"-1:0:0:0", b" 1:0:0:0", b"4294967295:0:0:0")
    for nonsense in (*texts, *nodes, b"0:0:0:" + b"9" * 500, b"0:0:200000:0"):
        os.setxattr(file, ATTRIBUTE, nonsense)
        assert read_owner(os.fspath(file), file.lstat()) == Owner(0, 0, 0o100644, 0)


@pytest.mark.parametrize("is_directory", [True, False])
def test_what_is_written_is_what_the_engines_read(is_directory: bool) -> None:
    for mode in range(0o10000):
        text = owner_text(0, 0, mode, is_directory)
        assert bool(text) == (host_mode(mode, is_directory) != mode)
        assert not text or int(text.split(b":")[2], 8) & 0o7777 == mode
