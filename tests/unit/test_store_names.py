"""Names of containers: one container a name, also when many change them at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from udocker.config import Config
from udocker.errors import NotFoundError, StoreError
from udocker.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(Config(tmp_path / "store")).create()


def test_of_many_renames_at_once_one_succeeds(store: Store) -> None:
    container = store.containers.create("img:1", {}, lambda root: None)

    def renamed(new: str) -> bool:
        try:
            store.containers.rename("box", new)
        except NotFoundError:
            return False
        return True

    for attempt in range(20):
        store.containers.name(container.id, "box")
        wanted = [f"new{attempt}-{number}" for number in range(8)]
        with ThreadPoolExecutor(8) as threads:
            winners = [name for name, won in zip(wanted, threads.map(renamed, wanted)) if won]
        assert len(winners) == 1
        assert store.containers.names(container.id) == tuple(winners)
        store.containers.unname(winners[0])


def test_a_name_that_is_taken_stays_where_it_is(store: Store) -> None:
    first, second = (store.containers.create("img:1", {}, lambda root: None) for _ in range(2))
    store.containers.name(first.id, "one")
    store.containers.name(second.id, "two")
    with pytest.raises(StoreError, match="already taken"):
        store.containers.rename("one", "two")
    assert store.containers.names(first.id) == ("one",)
    assert store.containers.names(second.id) == ("two",)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../containers/one", "nosuch", "a\0b", "n" * 300])
def test_what_is_no_name_cannot_be_taken_away(store: Store, name: str) -> None:
    container = store.containers.create("img:1", {}, lambda root: None)
    store.containers.name(container.id, "one")
    with pytest.raises(NotFoundError):
        store.containers.unname(name)
    assert os.readlink(store.paths.containers / "one") == container.id
