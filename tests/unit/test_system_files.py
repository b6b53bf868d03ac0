"""Names that clients of shared file systems take for missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from udocker.config import Config
from udocker.store.store import Store
from udocker.system import files
from udocker.system.files import forget_absence, is_there_now


def test_what_is_missing_is_missing_and_stays_so(tmp_path: Path) -> None:
    assert not is_there_now(tmp_path / "none")
    assert not is_there_now(tmp_path / "none" / "below" / "it")
    forget_absence(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    for path in (tmp_path / "directory", tmp_path / "file"):
        path.mkdir() if path.name == "directory" else path.write_text("x")
        before = path.stat()
        forget_absence(path)
        assert path.stat() == before
        assert is_there_now(path)


def test_a_list_of_the_directory_is_believed_more_than_what_was_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a client that took the name for missing: only a call that the server answers tells it better."""
    (tmp_path / "d" / "new").mkdir(parents=True)
    remembered = {str(tmp_path / "d"), str(tmp_path / "d" / "new")}
    true_stat, true_mkdir = os.stat, os.mkdir

    def stat(path: str, **options: object) -> os.stat_result:
        if os.fspath(path) in remembered:
            raise FileNotFoundError(2, "remembered", path)
        return true_stat(path)

    def mkdir(path: str, mode: int = 0o777) -> None:
        remembered.discard(os.fspath(path))
        true_mkdir(path, mode)

    monkeypatch.setattr(files.os, "stat", stat)
    monkeypatch.setattr(files.os, "mkdir", mkdir)
    assert not files.is_there(tmp_path / "d" / "new")
    assert is_there_now(tmp_path / "d" / "new")
    assert remembered == set()


def test_a_container_that_came_since_it_was_missed_is_found(tmp_path: Path) -> None:
    store = Store.at(Config(udocker_dir=str(tmp_path / "store"))).create()
    assert not store.containers.is_published("x")
    (store.paths.containers / "x" / "ROOT").mkdir(parents=True)
    assert store.containers.is_published("x")
    assert not store.containers.is_published("y")
