"""The lock across nodes: one holder at a time, dead ones succeeded, live ones left alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest

from tests.services.denied import deny_hard_links
from udocker.errors import StoreLocked
from udocker.store.generations import Watch
from udocker.store.lock import LockTiming, SharedLock, lock_method
from udocker.store.paths import StorePaths
from udocker.system.files import remove_tree
from udocker.system.process import ProcessIdentity

TIMING = LockTiming(beat=0.05, stale=1.0, wait=20.0)


@pytest.fixture
def paths(tmp_path: Path) -> StorePaths:
    paths = StorePaths(tmp_path / "store")
    paths.create()
    return paths


def lock(paths: StorePaths, timing: LockTiming = TIMING) -> SharedLock:
    return SharedLock(paths, "key", timing)


def watch(paths: StorePaths, stale: float = TIMING.stale) -> Watch:
    return Watch(paths.locks / "key", stale)


def forge_holder(paths: StorePaths, identity: ProcessIdentity, beat: str = "") -> Path:
    """A first generation held by ``identity``, as another node would leave it."""
    directory = paths.locks / "key"
    directory.mkdir()
    (directory / "g1").write_text(json.dumps(identity.to_json()))
    if beat:
        (directory / "g1.beat").write_text(beat)
    return directory


def forge_holder_beside(paths: StorePaths, generation: int) -> Path:
    """A claim that is made and, as its maker then finds, wrong."""
    path = paths.locks / "key" / f"g{generation}"
    path.write_text(json.dumps(ProcessIdentity.current().to_json()))
    return path


def elsewhere() -> ProcessIdentity:
    return replace(ProcessIdentity.current(), host="some-other-node")


def count_up(paths: StorePaths, counter: Path) -> None:
    """Add one to a file's number, which loses counts unless the lock excludes others."""
    with lock(paths).held():
        value = int(counter.read_text())
        os.sched_yield()
        counter.write_text(str(value + 1))


def hold_and_report(paths: StorePaths, ready: multiprocessing.synchronize.Event) -> None:
    lock(paths).acquire()
    ready.set()
    signal.pause()


def test_of_many_processes_one_at_a_time_holds_it(paths: StorePaths, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    workers = [multiprocessing.Process(target=count_up, args=(paths, counter)) for _ in range(20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 20
    assert counter.read_text() == "20"


def test_generations_before_the_last_are_cleared_away(paths: StorePaths) -> None:
    for _ in range(5):
        with lock(paths).held():
            pass
    assert {path.name.partition(".")[0] for path in (paths.locks / "key").iterdir()} == {"g4", "g5"}


def test_a_holder_of_this_node_that_was_killed_is_succeeded_at_once(paths: StorePaths) -> None:
    ready = multiprocessing.Event()
    holder = multiprocessing.Process(target=hold_and_report, args=(paths, ready))
    holder.start()
    assert ready.wait(20)
    holder.kill()
    holder.join()
    patient = replace(TIMING, stale=3600.0)
    holding = lock(paths, patient).acquire()
    assert holding is not None
    assert holding.generation == 2
    holding.release()


def test_a_pid_that_was_used_again_is_not_the_holder(paths: StorePaths) -> None:
    forge_holder(paths, replace(ProcessIdentity.current(), start=1))
    holding = lock(paths, replace(TIMING, stale=3600.0)).acquire()
    assert holding is not None
    holding.release()


def test_a_holder_of_another_node_whose_beat_stands_still_is_succeeded(paths: StorePaths) -> None:
    forge_holder(paths, elsewhere(), "1")
    holding = lock(paths).acquire()
    assert holding is not None
    assert holding.generation == 2
    holding.release()


def test_a_holder_of_another_node_that_beats_keeps_the_lock(paths: StorePaths) -> None:
    directory = forge_holder(paths, elsewhere(), "0")
    stop = threading.Event()

    def beat() -> None:
        count = 0
        while not stop.wait(0.05):
            count += 1
            (directory / "g1.beat").write_text(str(count))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(StoreLocked, match="some-other-node"):
            lock(paths, replace(TIMING, wait=3.0)).acquire()
    finally:
        stop.set()
        thread.join()


def test_the_time_of_the_beat_file_is_never_asked(paths: StorePaths) -> None:
    """Clients cache times: a fresh content with an old time is alive, the other way round is dead."""
    directory = forge_holder(paths, elsewhere(), "0")
    stop = threading.Event()

    def beat_with_old_times() -> None:
        count = 0
        while not stop.wait(0.05):
            count += 1
            (directory / "g1.beat").write_text(str(count))
            os.utime(directory / "g1.beat", (1, 1))

    thread = threading.Thread(target=beat_with_old_times)
    thread.start()
    try:
        with pytest.raises(StoreLocked):
            lock(paths, replace(TIMING, wait=3.0)).acquire()
    finally:
        stop.set()
        thread.join()


def test_one_that_waits_leaves_when_there_is_no_need_any_more(paths: StorePaths) -> None:
    forge_holder(paths, ProcessIdentity.current())  # alive: this very process
    answers = iter([False, False, True])
    assert lock(paths).acquire(lambda: next(answers)) is None


def test_the_outcome_of_a_generation_is_told_to_others(paths: StorePaths) -> None:
    with pytest.raises(StoreLocked), lock(paths).held():
        raise StoreLocked("it failed", "try harder")
    outcome = lock(paths).outcome(1)
    assert outcome is not None
    assert (outcome.error, outcome.hint) == ("it failed", "try harder")
    with lock(paths).held():
        assert lock(paths).outcome(2) is None
    ended = lock(paths).outcome(2)
    assert ended is not None
    assert ended.error == ""


def test_a_number_that_was_cleared_away_cannot_be_taken_again(paths: StorePaths) -> None:
    """A node with an old view of the directory may try a number that is long past."""
    for _ in range(5):
        with lock(paths).held():
            pass
    stale_view = lock(paths)
    assert stale_view._claim(2, watch(paths)) is False


def test_a_damaged_holder_file_counts_by_its_beat(paths: StorePaths) -> None:
    directory = forge_holder(paths, elsewhere())
    (directory / "g1").write_text("{")
    holding = lock(paths).acquire()
    assert holding is not None
    holding.release()


def without_hard_links(work: Callable[[], None]) -> int:
    """Do ``work`` in a process whose file systems have no hard links; its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            deny_hard_links()
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_without_hard_links_one_at_a_time_holds_it_as_well(paths: StorePaths, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")

    def count_many() -> None:
        with pytest.raises(PermissionError):
            os.link(counter, tmp_path / "other")
        workers = [multiprocessing.Process(target=count_up, args=(paths, counter)) for _ in range(12)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0] * 12

    assert without_hard_links(count_many) == 0
    assert counter.read_text() == "12"


def test_both_ways_to_take_a_lock_exclude_each_other(paths: StorePaths) -> None:
    """Two nodes may see the same directory through different clients."""
    taken = lock(paths).acquire()
    assert taken is not None

    def fails() -> None:
        with pytest.raises(StoreLocked):
            lock(paths, replace(TIMING, wait=0.2)).acquire()

    assert without_hard_links(fails) == 0
    taken.release()


def test_how_locks_are_taken_is_found_by_trying(paths: StorePaths) -> None:
    assert lock_method(paths.scratch) == "link"

    def tries() -> None:
        assert lock_method(paths.scratch) == "O_EXCL"

    assert without_hard_links(tries) == 0
    assert lock_method(paths.root / "none") == "none"
    assert list(paths.scratch.iterdir()) == []


def test_a_lock_that_was_passed_leaves_nothing(paths: StorePaths) -> None:
    with lock(paths).passing() as held:
        assert held
        assert lock(paths).is_held()
    assert not lock(paths).is_held()
    assert list(paths.locks.iterdir()) == []
    with lock(paths).passing(lambda: True) as held:
        assert not held
    assert list(paths.locks.iterdir()) == []


def pass_up(paths: StorePaths, counter: Path) -> None:
    with lock(paths).passing():
        value = int(counter.read_text())
        os.sched_yield()
        counter.write_text(str(value + 1))


def test_of_many_that_pass_one_at_a_time_holds_it(paths: StorePaths, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    workers = [multiprocessing.Process(target=pass_up, args=(paths, counter)) for _ in range(20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 20
    assert counter.read_text() == "20"
    assert list(paths.locks.iterdir()) == []


def test_one_that_was_taken_for_dead_leaves_the_lock_to_its_successor(paths: StorePaths) -> None:
    first = lock(paths).acquire()
    assert first is not None
    (paths.locks / "key" / "g2").write_text(json.dumps(ProcessIdentity.current().to_json()))
    first.dissolve(paths.scratch)
    assert lock(paths).newest() == 2
    assert lock(paths).is_held()


def test_a_number_of_a_lock_that_was_dissolved_cannot_be_taken(paths: StorePaths) -> None:
    """A process that has seen an old lock must not count on in a new one of the same name."""
    with lock(paths).passing():
        assert lock(paths)._claim(7, watch(paths)) is False
        assert lock(paths).newest() == 1


def test_a_holder_of_another_node_is_asked_by_its_beat(paths: StorePaths) -> None:
    forge_holder(paths, elsewhere(), "1")
    assert not lock(paths, replace(TIMING, stale=0.3)).is_held()


def test_holders_that_follow_each_other_under_one_number_are_not_one_that_stands_still(
    paths: StorePaths,
) -> None:
    """A lock that is dissolved counts from one again: what is seen of two holders may look the same."""
    waiter = watch(paths, stale=0.05)
    for number in range(3):
        directory = forge_holder(paths, replace(elsewhere(), pid=number + 1), "1")
        assert not waiter.is_dead(1, os.listdir(directory))
        time.sleep(0.06)
        remove_tree(directory)
    assert not waiter.is_dead(1, ["g1"])  # a list that was made before it went
    forge_holder(paths, ProcessIdentity.current())
    time.sleep(0.06)
    assert not waiter.is_dead(1, ["g1"])
    remove_tree(paths.locks / "key")
    assert not waiter.is_dead(1, ["g1"])


def test_a_number_after_another_holder_than_the_dead_one_cannot_be_taken(paths: StorePaths) -> None:
    """Between the look at a holder that has ended and the claim the lock was dissolved and taken anew."""
    directory = forge_holder(paths, replace(ProcessIdentity.current(), start=1))
    waiter = watch(paths)
    assert waiter.is_dead(1, ["g1"])
    remove_tree(directory)
    with lock(paths).passing():
        assert lock(paths)._claim(2, waiter) is False
        assert lock(paths).newest() == 1
        assert lock(paths).is_held()


def test_a_holder_that_is_succeeded_while_it_dissolves_leaves_a_free_lock(paths: StorePaths) -> None:
    holding = lock(paths).acquire()
    assert holding is not None
    second = forge_holder_beside(paths, 2)
    holding.dissolve(paths.scratch)
    second.unlink()
    with lock(paths, replace(TIMING, wait=5)).passing() as held:
        assert held


def test_a_beat_that_is_not_there_yet_is_not_asked_for(paths: StorePaths) -> None:
    """Some clients would remember for a minute that it was missing."""
    forge_holder(paths, elsewhere(), "1")
    waiter = watch(paths)
    assert not waiter.is_dead(1, ["g1"])
    assert not waiter.lives(1)
    assert not waiter.is_dead(1, ["g1", "g1.beat"])
    assert waiter.lives(1)


def test_an_outcome_that_is_not_listed_is_not_opened(
    paths: StorePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = lock(paths).acquire()
    assert holding is not None
    opened: list[Path] = []
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path) or b"{}")
    assert lock(paths).outcome(1) is None
    assert opened == []
    monkeypatch.undo()
    holding.release("broken")
    ended = lock(paths).outcome(1)
    assert ended is not None
    assert ended.error == "broken"
