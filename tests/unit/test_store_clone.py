"""Copies of containers: equal in everything, and sharing nothing that can be written."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from udocker.config import Config
from udocker.errors import NotFoundError, StoreNoSpace
from udocker.model.container import Container
from udocker.store.clone import clone
from udocker.store.protection import is_protected, protect
from udocker.store.store import Store
from udocker.system import copy
from udocker.system.copy import copy_tree
from udocker.system.files import remove_tree

MTIME = 1_000_000_000_123_456_789


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(Config(tmp_path / "store")).create()


def make(store: Store, unpack: Callable[[Path], None] = lambda root: None) -> Container:
    return store.containers.create("img:1", {"config": {"Cmd": ["sh"]}}, unpack, extra={"digest": "d"})


def a_tree(root: Path) -> None:
    """One of everything that a container may hold."""
    (root / "bin").mkdir()
    (root / "bin/tool").write_bytes(b"#!\n")
    (root / "bin/tool").chmod(0o4755)
    os.link(root / "bin/tool", root / "bin/alias")
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "dangling").symlink_to("no/where")
    os.link(root / "dangling", root / "dangling2", follow_symlinks=False)
    os.utime(root / "dangling", ns=(MTIME, MTIME), follow_symlinks=False)
    os.mkfifo(root / "pipe", 0o620)
    (root / os.fsdecode(b"odd\n\xff name")).write_bytes(b"x")
    (root / "empty").touch()
    with open(root / "sparse", "wb") as stream:
        stream.seek(1 << 24)
        stream.write(b"end")
        stream.truncate(1 << 25)
    (root / "secret").write_bytes(b"hidden")
    (root / "secret").chmod(0)
    (root / "closed/inner").mkdir(parents=True)
    (root / "closed/inner/file").write_bytes(b"y")
    (root / "closed/inner").chmod(0)
    (root / "closed").chmod(0o1555)
    os.utime(root / "bin/tool", ns=(MTIME, MTIME))
    os.utime(root / "bin", ns=(MTIME, MTIME))


def described(root: Path) -> dict[str, tuple[Any, ...]]:
    """Every entry's kind, mode, size, time and link; hard links by the first of their names."""
    found: dict[str, tuple[Any, ...]] = {}
    first: dict[int, str] = {}
    for directory, directories, files in os.walk(root):
        directories.sort()
        for name in (".", *sorted((*directories, *files))):
            path = os.path.join(directory, name)
            info = os.lstat(path)
            target = os.readlink(path) if stat.S_ISLNK(info.st_mode) else ""
            same = first.setdefault(info.st_ino, os.path.relpath(path, root))
            size = 0 if stat.S_ISDIR(info.st_mode) else info.st_size
            found[os.path.relpath(path, root)] = (info.st_mode, size, info.st_mtime_ns, target, same)
    return found


def test_a_clone_has_everything_that_its_original_has(store: Store) -> None:
    source = make(store, a_tree)
    before = described(source.root)
    copied = clone(store.containers, source)
    assert described(copied.root) == before
    assert described(source.root) == before
    assert copied.id != source.id
    assert (copied.image, copied.config) == (source.image, source.config)
    assert Path(copied.directory, "udocker.json").read_bytes() == b'{"digest": "d"}'
    assert Path(copied.root, "bin/tool").read_bytes() == b"#!\n"
    assert sorted(store.containers.ids()) == sorted([source.id, copied.id])
    assert os.listdir(store.paths.tmp) == []
    assert sorted(os.listdir(copied.directory)) == sorted(os.listdir(source.directory))


def test_what_is_written_in_a_clone_is_not_seen_in_its_original(store: Store) -> None:
    source = make(store, a_tree)
    copied = clone(store.containers, source)
    ours = {os.lstat(path).st_ino for path in Path(source.root).rglob("*")}
    assert not ours & {os.lstat(path).st_ino for path in Path(copied.root).rglob("*")}
    Path(copied.root, "bin/alias").write_bytes(b"changed")
    assert Path(copied.root, "bin/tool").read_bytes() == b"changed"
    assert Path(source.root, "bin/tool").read_bytes() == b"#!\n"


def test_holes_stay_holes(store: Store) -> None:
    copied = clone(store.containers, make(store, a_tree))
    info = Path(copied.root, "sparse").stat()
    assert info.st_blocks * 512 < info.st_size / 8
    data = Path(copied.root, "sparse").read_bytes()
    assert data == bytes(1 << 24) + b"end" + bytes((1 << 24) - 3)


def test_names_and_protection_stay_with_the_original(store: Store) -> None:
    source = make(store)
    store.containers.name(source.id, "box")
    protect(source.directory, 0o644)
    copied = clone(store.containers, source)
    assert copied.names == ()
    assert not is_protected(copied.directory)
    assert store.containers.find("box").id == source.id


def test_content_is_cloned_where_the_file_system_can(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ioctl that does the work stands for a file system with reflinks: nothing else writes then."""
    asked = []

    def ioctl(target: int, request: int, source: int) -> int:
        asked.append((request, os.write(target, os.pread(source, 1000, 0))))
        return 0

    source = make(store, lambda root: _write(root / "data", b"abc"))
    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    monkeypatch.setattr(os, "pwrite", None)
    copied = clone(store.containers, source)
    assert Path(copied.root, "data").read_bytes() == b"abc"
    assert (0x40049409, 3) in asked


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EXDEV, errno.ENOTTY, errno.EINVAL])
def test_content_is_copied_where_it_cannot(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def ioctl(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    copied = clone(store.containers, make(store, a_tree))
    assert Path(copied.root, "bin/tool").read_bytes() == b"#!\n"


def test_a_full_disk_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source = make(store, a_tree)
    monkeypatch.setattr(copy, "_FICLONE", 0)
    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(StoreNoSpace, match=r"clone: .*No space left"):
        clone(store.containers, source)
    assert store.containers.ids() == [source.id]
    assert os.listdir(store.paths.tmp) == []


def test_a_container_that_is_removed_meanwhile_gives_no_clone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is deleted in a container while it is copied is left out; a container that is deleted is told."""
    source = make(store, a_tree)
    listed = os.listdir

    def removing(place: Any) -> list[str]:
        names = listed(place)
        if store.containers.has(source.id):
            monkeypatch.setattr(os, "listdir", listed)
            store.containers.remove(source.directory)
        return names

    monkeypatch.setattr(os, "listdir", removing)
    with pytest.raises(NotFoundError, match="was removed meanwhile"):
        clone(store.containers, source)
    assert store.containers.ids() == []
    assert os.listdir(store.paths.tmp) == []


def test_a_tree_deeper_than_stack_and_descriptors_is_copied(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    fd = os.open(tmp_path / "source", os.O_RDONLY)
    for level in range(3000):
        os.mkdir("d", 0o755, dir_fd=fd)
        os.close(os.open(f"f{level}", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fd))
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.link(f"/proc/self/fd/{fd}/../f2999", "again", dst_dir_fd=fd)
    os.close(fd)
    copy_tree(tmp_path / "source", tmp_path / "target")
    fd = os.open(tmp_path / "target", os.O_RDONLY)
    for level in range(3000):
        assert sorted(os.listdir(fd)) == ["d", f"f{level}"]
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    assert os.stat("again", dir_fd=fd).st_nlink == 2
    os.close(fd)
    remove_tree(tmp_path / "source")
    remove_tree(tmp_path / "target")
