"""Containers in the store: damaged ones, those of other programs, and what a killed process leaves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from udocker.config import Config
from udocker.errors import NotFoundError, StoreCorrupt
from udocker.model.container import Container
from udocker.store.store import Store
from udocker.system.files import tree_size


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
    (container.directory / "container.json").write_bytes(content)
    with pytest.raises(StoreCorrupt, match="container: box: .*container.json") as failure:
        store.containers.find("box")
    assert failure.value.hint == "remove and create it again"
    store.containers.remove(store.containers.directory("box"))
    assert os.listdir(store.paths.containers) == []


def test_a_container_without_a_root_can_be_removed(store: Store) -> None:
    container = make(store)
    container.root.rename(store.paths.root / "elsewhere")
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


@pytest.mark.parametrize("target", ["..", ".", "../..", "/", "nowhere"])
def test_a_name_that_links_elsewhere_is_no_container(store: Store, target: str) -> None:
    (store.paths.containers / "odd").symlink_to(target)
    with pytest.raises(NotFoundError):
        store.containers.find("odd")
    assert store.paths.containers.is_dir()


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
