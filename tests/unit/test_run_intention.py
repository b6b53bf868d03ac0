"""A container that is to go with its run is known as such before it is there, whatever is killed when."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import pytest

from udocker.config import Config
from udocker.engine.base import Launch
from udocker.model.container import Container
from udocker.run import keeper, notes
from udocker.run.keeper import Keeper, intended
from udocker.store.repair import repair
from udocker.store.runs import RunState
from udocker.store.store import Store
from udocker.system.files import unique_name
from udocker.system.process import ProcessIdentity
from udocker.values import replace

LAUNCH = Launch(("/launcher", "--root", "/r", "--", "sleep", "9"), {}, "/")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(notes, "_directory", lambda: str(tmp_path / "notes"))
    return Store.at(Config(str(tmp_path / "store"))).create()


def make(store: Store, container_id: str) -> Container:
    config = {"os": "linux", "architecture": "amd64"}
    return store.containers.create("image:1", config, lambda _: None, container_id)


def killed(store: Store, container_id: str, made: bool, begun: bool) -> None:
    """A process that is killed with the container made or not, and its run begun or not."""
    pid = os.fork()
    if pid == 0:
        with intended(store, container_id):
            container = make(store, container_id) if made else None
            if container is not None and begun:
                Keeper.begin(store, container, LAUNCH, "T2", remove=True)
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def repaired(store: Store) -> list[str]:
    return [f"{finding.what}: {finding.what_now}" for finding in repair(store)]


@pytest.mark.parametrize("begun", [False, True])
def test_repair_removes_a_container_whose_maker_was_killed(store: Store, begun: bool) -> None:
    container_id = str(uuid.uuid4())
    killed(store, container_id, made=True, begun=begun)
    assert store.containers.ids() == [container_id]
    assert repaired(store) == [f"container {container_id}: who ran it with --rm was killed: removed"]
    assert (store.containers.ids(), store.runs.containers()) == ([], [])
    assert repaired(store) == []


def test_repair_forgets_a_container_that_never_came_to_be(store: Store) -> None:
    killed(store, str(uuid.uuid4()), made=False, begun=False)
    assert len(repaired(store)) == 1
    assert store.runs.containers() == []


def test_repair_leaves_what_is_being_made(store: Store) -> None:
    container_id = str(uuid.uuid4())
    with intended(store, container_id):
        assert repaired(store) == []
        make(store, container_id)
        assert repaired(store) == []
        assert store.containers.ids() == [container_id]


def test_an_intention_that_fails_is_taken_back(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), intended(store, str(uuid.uuid4())):
        raise KeyboardInterrupt
    assert store.runs.containers() == []


@pytest.mark.parametrize("in_background", [False, True])
def test_an_intention_gives_way_to_the_run(
    store: Store, in_background: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    container_id = str(uuid.uuid4())
    with intended(store, container_id):
        container = make(store, container_id)
    if in_background:
        parent = ProcessIdentity.of(os.getppid())
        monkeypatch.setattr(ProcessIdentity, "current", lambda: parent)
    begun = Keeper.begin(store, container, LAUNCH, "T2", remove=True)
    keeper.settle_intention(store, container_id, begun.run)
    (run,) = store.runs.of(container_id)
    assert (run.path, run.record.mode, run.state) == (begun.run.path, "T2", RunState.RUNNING)


def test_a_run_that_cannot_be_known_leaves_no_intention(store: Store) -> None:
    """Its program may outlive who waits for it, and nobody would know."""
    container_id = str(uuid.uuid4())
    with intended(store, container_id):
        make(store, container_id)
    keeper.settle_intention(store, container_id)
    assert store.runs.of(container_id) == []
    assert repaired(store) == []
    assert store.containers.ids() == [container_id]


@pytest.mark.parametrize("begun", [False, True], ids=["directory", "file"])
def test_the_place_of_a_record_that_was_never_written_is_removed(store: Store, begun: bool) -> None:
    container_id = str(uuid.uuid4())
    directory = store.paths.runs / container_id
    store.paths.make(directory)
    if begun:
        dead = replace(ProcessIdentity.current(), start=1)
        (directory / f"x.json.{dead.mark()}-0123456789ab").touch()
    assert repaired(store) == [f"runs/{container_id}: unfinished, its maker is dead: removed"]
    assert list(store.paths.runs.iterdir()) == []
    assert repaired(store) == []


def test_the_place_of_a_record_that_somebody_writes_stays(store: Store) -> None:
    directory = store.paths.runs / str(uuid.uuid4())
    store.paths.make(directory)
    (directory / unique_name("x.json.")).touch()
    assert repaired(store) == []
    assert len(list(directory.iterdir())) == 1
