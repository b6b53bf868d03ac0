"""Containers in the store: damaged ones, those of other programs, and what a killed process leaves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from udocker.config import Config
from udocker.errors import NotFoundError, StoreCorrupt
from udocker.model.container import Container
from udocker.store.store import Store
from udocker.system.files import tree_size, unique_name, write_atomically


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(Config(tmp_path / "store")).create()


def make(store: Store, name: str = "") -> Container:
    container = store.containers.create("img:1", {}, lambda root: None)
    if name:
        store.containers.name(container.id, name)
    return store.containers.find(container.id)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"config": 5}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_container_is_named_and_can_be_removed(store: Store, content: bytes) -> None:
    container = make(store, "box")
    Path(container.directory, "container.json").write_bytes(content)
    with pytest.raises(StoreCorrupt, match="container: box: .*container.json") as failure:
        store.containers.find("box")
    assert failure.value.hint == "remove and create it again"
    store.containers.remove(store.containers.directory("box"))
    assert os.listdir(store.paths.containers) == []


def test_a_container_without_a_root_can_be_removed(store: Store) -> None:
    container = make(store)
    Path(container.root).rename(store.paths.root / "elsewhere")
    with pytest.raises(NotFoundError):
        store.containers.find(container.id)
    store.containers.remove(store.containers.directory(container.id))
    assert store.containers.ids() == []


def test_a_container_of_a_store_without_tmp_can_be_removed(store: Store) -> None:
    container = make(store, "box")
    shutil.rmtree(store.paths.root / "tmp")
    shutil.rmtree(store.paths.locks)
    store.containers.remove(container.directory)
    assert os.listdir(store.paths.containers) == []


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_permissions_are_those_of_the_store_whatever_the_umask(store: Store, umask: int) -> None:
    store.paths.root.chmod(0o2770)
    old = os.umask(umask)
    try:
        container = make(store)
        write_atomically(store.paths.root / "file", b"", store.paths.file_mode)
    finally:
        os.umask(old)
    assert (store.paths.root / "file").stat().st_mode & 0o7777 == 0o660
    assert Path(container.directory).stat().st_mode & 0o7777 == 0o2770
    assert Path(container.directory, "container.json").stat().st_mode & 0o777 == 0o660
    assert {path.stat().st_mode & 0o777 for path in Path(container.root).rglob("*")} == {0o755, 0o644}
    assert Path(container.root).stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("target", ["..", ".", "../..", "/", "nowhere"])
def test_a_name_that_links_elsewhere_is_no_container(store: Store, target: str) -> None:
    (store.paths.containers / "odd").symlink_to(target)
    with pytest.raises(NotFoundError):
        store.containers.find("odd")
    assert store.paths.containers.is_dir()


def test_what_a_killed_process_was_making_is_cleared_by_the_next(store: Store) -> None:
    program = (
        "import os, sys; from pathlib import Path; from udocker.system.files import unique_name\n"
        "tmp = Path(sys.argv[1]); (tmp / unique_name('create-')).mkdir()\n"
        "(tmp / unique_name('blob-')).touch(); print(flush=True); os.read(0, 1); os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", program, str(store.paths.tmp)]
    maker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert maker.stdout is not None
    maker.stdout.readline()
    mine = store.paths.tmp / unique_name("create-")
    mine.mkdir()
    others = ["key-g7", "blob-000000000000-1-1-000000000000", "-1-1-000000000000"]  # of another node
    for name in others:
        (store.paths.tmp / name).touch()
    store.create()
    assert len(os.listdir(store.paths.tmp)) == 6, "the maker lives"
    assert maker.stdin is not None
    maker.stdin.write(b"x")
    maker.stdin.close()
    os.waitid(os.P_PID, maker.pid, os.WEXITED | os.WNOWAIT)  # dead, and not reaped
    store.create()
    assert sorted(os.listdir(store.paths.tmp)) == sorted([*others, mine.name])
    maker.wait()
    maker.stdout.close()


def test_a_container_deeper_than_the_stack_can_be_measured_and_removed(store: Store) -> None:
    container = make(store)
    fd = os.open(container.root, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", 0o700, dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(os.open("f", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=inner))
        os.fchmod(fd, 0o500)
        os.close(fd)
        fd = inner
    os.close(fd)
    assert tree_size(container.root) > 0
    store.containers.remove(container.directory)
    assert os.listdir(store.paths.tmp) == []


def test_a_name_longer_than_a_file_name_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.containers.find("a" * 300)


def test_a_container_that_is_removed_as_soon_as_it_is_seen_was_made(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made it is told its id, not that it is gone."""
    removed = []

    def remove_at_once(directory: Path) -> None:
        for container in store.containers.ids():
            removed.append(container)
            store.containers.remove(store.containers.directory(container))

    monkeypatch.setattr("udocker.store.containers.sync_directory", remove_at_once)
    made = store.containers.create("img:1", {"architecture": "amd64"}, lambda root: None, name="box")
    assert removed == [made.id]
    assert (made.names, made.image, made.config.platform.architecture) == (("box",), "img:1", "amd64")
    assert os.listdir(store.paths.containers) == []
