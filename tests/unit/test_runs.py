"""What is written down of runs is true whatever was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest

from udocker.cli import stop as stop_command
from udocker.cli.main import main
from udocker.config import Config
from udocker.engine.base import Launch
from udocker.model.container import Container
from udocker.model.runrecord import RUN, RunRecord
from udocker.run import notes
from udocker.run.runs import ContainerRuns, all_runs, kill_runs, stop, wait_for_end
from udocker.store.repair import repair
from udocker.store.runs import KeptRun, RunState, RunStore
from udocker.store.store import Store
from udocker.system.process import ProcessIdentity
from udocker.system.processes import family_of

LAUNCH = Launch(("/launcher", "--root", "/r", "--", "sleep", "9"), {"A": "b", "C": "\udcff"}, "/")
DEAD = replace(ProcessIdentity.current(), start=1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(Config(str(tmp_path / "store"))).create()


@pytest.fixture
def container(store: Store) -> Container:
    made = store.containers.create("image:1", {"os": "linux", "architecture": "amd64"}, lambda _: None)
    store.containers.name(made.id, "box")
    return made


@pytest.fixture(autouse=True)
def own_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Notes of these tests' own."""
    above = tmp_path / "node"
    above.mkdir(mode=0o700)
    monkeypatch.setattr(notes, "_directory", lambda: str(above / "runs"))
    return above / "runs"


@pytest.fixture
def program() -> Iterator[ProcessIdentity]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield ProcessIdentity.of(process.pid)
        process.kill()


def record(container: Container, **changes: Any) -> RunRecord:
    value = RunRecord(
        container=container.id,
        directory=container.directory,
        kind=RUN,
        mode="T2",
        argv=LAUNCH.argv,
        env=LAUNCH.env,
        keeper=ProcessIdentity.current(),
        program=None,
        began=1.0,
    )
    return replace(value, **changes)


def test_a_record_is_read_as_it_was_written(container: Container) -> None:
    made = record(container, program=DEAD, ports=(("80/tcp", ":8080"),), status=3, ended=2.5)
    assert RunRecord.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made.command == ("sleep", "9")


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"container": "x"}'])
def test_what_is_no_record_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        RunRecord.from_json(json.loads(text))


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, RunState.RUNNING),
        ({"keeper": DEAD}, RunState.KILLED),
        ({"keeper": DEAD, "program": DEAD}, RunState.KILLED),
        ({"keeper": DEAD, "program": ProcessIdentity.current()}, RunState.ORPHANED),
        ({"keeper": replace(DEAD, host="other")}, RunState.ELSEWHERE),
        ({"keeper": replace(DEAD, boot="other")}, RunState.ELSEWHERE),
        ({"ended": 2.0, "status": 0}, RunState.ENDED),
        ({"ended": 2.0}, RunState.KILLED),
    ],
)
def test_what_has_become_of_a_run(
    store: Store, container: Container, changes: dict[str, Any], state: RunState
) -> None:
    store.runs.write(record(container, **changes))
    assert [run.state for run in store.runs.of(container.id)] == [state]


def test_a_record_of_somebody_else_is_not_believed(
    store: Store, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.runs.write(record(container))
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert store.runs.of(container.id) == []


def test_a_note_lives_as_long_as_its_process(
    store: Store, container: Container, own_notes: Path, program: ProcessIdentity
) -> None:
    path = notes.note(container, LAUNCH, "R1")
    assert path is not None
    assert os.stat(path).st_mode & 0o777 == 0o600
    (found,) = notes.noted(container.id)
    assert (found.keeper, found.argv, found.env) == (ProcessIdentity.current(), LAUNCH.argv, LAUNCH.env)
    assert list(notes.noted("other")) == []
    dead = own_notes / Path(path).name.replace(f".{found.keeper.start}", ".1")
    dead.write_text(json.dumps(record(container, keeper=DEAD, program=DEAD).to_json()))
    assert len(list(notes.noted())) == 1
    assert not dead.exists()
    notes.drop(path)
    assert list(notes.noted()) == []


def test_notes_of_the_dead_do_not_pile_up(container: Container, own_notes: Path) -> None:
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            notes.note(container, LAUNCH, "R1")
            os._exit(0)
        os.waitpid(pid, 0)
    assert len(os.listdir(own_notes)) == 1  # each clears the one before


def test_a_directory_of_somebody_else_is_not_believed(
    container: Container, own_notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert notes.note(container, LAUNCH, "R1") is not None
    for place, mode in ((own_notes, 0o777), (own_notes.parent, 0o770)):
        place.chmod(mode)
        assert list(notes.noted()) == []
        assert notes.note(container, LAUNCH, "R1") is None
        place.chmod(0o700)
    assert len(list(notes.noted())) == 1


def test_nothing_is_written_through_somebody_elses_link(container: Container, own_notes: Path) -> None:
    elsewhere = own_notes.with_name("elsewhere")
    elsewhere.mkdir(0o700)
    own_notes.symlink_to(elsewhere)
    assert notes.note(container, LAUNCH, "R1") is None
    assert os.listdir(elsewhere) == []


def test_a_record_that_is_no_file_of_ones_own_is_passed_over(store: Store, container: Container) -> None:
    kept = store.runs.write(record(container))
    aside = kept.path.with_name("aside")
    kept.path.rename(aside)
    kept.path.symlink_to(aside)
    assert store.runs.of(container.id) == []
    kept.path.unlink()
    os.mkfifo(kept.path)
    assert store.runs.of(container.id) == []


def test_a_run_goes_on_where_nothing_can_be_noted(container: Container, own_notes: Path) -> None:
    own_notes.write_text("a file")
    assert notes.note(container, LAUNCH, "R1") is None


def test_a_family_has_all_descendants() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 600 & sh -c 'sleep 601 & echo; wait'"], stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        family = family_of([process.pid])
        assert sorted(member.name for member in family) == ["sh", "sh", "sleep", "sleep"]
        for member in family:
            os.kill(member.pid, signal.SIGKILL)


def test_stop_sends_sigterm_and_then_kills_what_is_left(store: Store, container: Container) -> None:
    script = "trap 'echo term' TERM; sleep 600 & echo up; while :; do wait; done"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        identity = ProcessIdentity.of(process.pid)
        store.runs.write(record(container, keeper=DEAD, program=identity))
        family = family_of([process.pid])
        stop(ContainerRuns.of(store, container.directory), signal.SIGTERM, 0.2)
        assert process.wait() == -signal.SIGKILL
        assert process.stdout.read() == b"term\n"
    assert len(family) == 2
    assert family_of([member.pid for member in family]) == []


@pytest.mark.parametrize(("word", "number"), [("INT", signal.SIGINT), ("NOPE", signal.SIGTERM), ("", 15)])
def test_an_image_names_the_signal_that_stops_it(store: Store, word: str, number: int) -> None:
    config = {"os": "linux", "architecture": "amd64", "config": {"StopSignal": word}}
    made = store.containers.create("image:1", config, lambda _: None)
    assert stop_command._of_image(store, made.id) == number


def test_a_time_that_is_no_number_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", "--time", "nan", "box"]) == 125
    assert "--time" in capsys.readouterr().err


def test_who_waits_leaves_the_store_alone_while_the_program_runs(
    store: Store, container: Container, program: ProcessIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.runs.write(record(container, keeper=program, program=program))
    runs = ContainerRuns.of(store, container.directory)
    asked: list[Optional[bool]] = []
    look = RunStore.of

    def of(self: RunStore, container_id: str) -> list[KeptRun]:
        asked.append(program.is_dead())
        return look(self, container_id)

    monkeypatch.setattr(RunStore, "of", of)
    threading.Timer(0.5, os.kill, (program.pid, signal.SIGKILL)).start()
    reaper = threading.Thread(target=os.waitid, args=(os.P_PID, program.pid, os.WEXITED))
    reaper.start()
    assert wait_for_end(store, runs) is None
    reaper.join()
    assert set(asked) == {True}


def test_a_signal_goes_to_the_program_alone(
    store: Store, container: Container, program: ProcessIdentity
) -> None:
    store.runs.write(record(container, keeper=DEAD, program=program))
    kill_runs(ContainerRuns.of(store, container.directory), signal.SIGSTOP)
    while (found := family_of([program.pid]))[0].state != "T":
        assert found
    kill_runs(ContainerRuns.of(store, container.directory), signal.SIGKILL)
    assert ContainerRuns.of(store, container.directory).live == ()


def test_ps_knows_every_run(store: Store, container: Container, program: ProcessIdentity) -> None:
    store.runs.write(record(container, keeper=DEAD, program=program))
    notes.note(container, LAUNCH, "R1")
    runs = all_runs(store)[container.directory]
    assert len(runs.live) == 2
    assert "(2 programs)" in runs.in_words()
    assert "who waited for it was killed" in runs.in_words()


def lines(store: Store, **options: Any) -> list[str]:
    return [f"{finding.what}: {finding.what_now}" for finding in repair(store, **options)]


def test_repair_removes_the_container_of_a_killed_run_that_would_have(
    store: Store, container: Container
) -> None:
    store.runs.write(record(container, keeper=DEAD, remove=True))
    assert lines(store) == [f"container {container.id}: who ran it with --rm was killed: removed"]
    assert store.containers.ids() == []
    assert store.runs.containers() == []
    assert lines(store) == []


def test_repair_leaves_a_killed_runs_container_to_what_runs_without_a_keeper(
    store: Store, container: Container
) -> None:
    store.runs.write(record(container, keeper=DEAD, remove=True))
    assert lines(store, has_note=lambda container_id: container_id == container.id) == []
    assert store.containers.ids() == [container.id]


def test_repair_removes_what_a_run_that_ended_left_to_others(store: Store, container: Container) -> None:
    store.runs.write(record(container, keeper=DEAD, remove=True, ended=1.0, status=0))
    assert lines(store, has_note=lambda _: True) == []
    (line,) = lines(store)
    assert (
        line == f"container {container.id}: a run with --rm has left it to others, which have ended: removed"
    )
    assert store.containers.ids() == []


def test_repair_leaves_a_container_whose_program_runs(
    store: Store, container: Container, program: ProcessIdentity
) -> None:
    store.runs.write(record(container, keeper=DEAD, program=program, remove=True))
    (line,) = lines(store)
    assert f"udocker stop {container.id}" in line
    assert store.containers.ids() == [container.id]


def test_repair_notes_the_end_of_a_killed_run(store: Store, container: Container) -> None:
    store.runs.write(record(container, keeper=DEAD))
    assert lines(store) == [f"container {container.id}: who waited for its run was killed: noted as ended"]
    assert lines(store) == []
    (run,) = store.runs.of(container.id)
    assert (run.state, run.record.status) == (RunState.KILLED, None)


def test_repair_leaves_the_living_and_other_nodes_alone(store: Store, container: Container) -> None:
    store.runs.write(record(container, remove=True))
    store.runs.write(record(container, keeper=replace(DEAD, host="other"), remove=True))
    assert lines(store) == []
    assert len(store.runs.of(container.id)) == 2


def test_repair_believes_that_nothing_runs(store: Store, container: Container) -> None:
    store.runs.write(record(container, keeper=replace(DEAD, host="other"), remove=True))
    assert lines(store, nothing_runs=True) == [
        f"container {container.id}: who ran it with --rm was killed: removed"
    ]


def test_repair_forgets_runs_of_containers_that_are_gone(store: Store, container: Container) -> None:
    run = store.runs.write(record(container, keeper=DEAD))
    store.containers.remove(container.directory)
    assert not run.path.exists()
    store.runs.write(record(container, keeper=DEAD))
    assert lines(store) == [f"container {container.id}: was removed, and its run was killed: forgotten"]
    assert store.runs.containers() == []


def test_rm_refuses_what_runs_unless_it_is_forced(
    store: Store,
    container: Container,
    program: ProcessIdentity,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UDOCKER_DIR", str(store.paths.root))
    store.runs.write(record(container, keeper=DEAD, program=program))
    assert main(["rm", "box"]) == 125
    assert "udocker: rm: box: running for" in capsys.readouterr().err
    assert store.containers.ids() == [container.id]
    assert program.is_dead() is False
    assert main(["rm", "-f", "box"]) == 0
    assert store.containers.ids() == []
    assert program.is_dead() is True


def test_rm_refuses_what_runs_on_another_node(
    store: Store,
    container: Container,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UDOCKER_DIR", str(store.paths.root))
    store.runs.write(record(container, keeper=replace(DEAD, host="node7")))
    assert main(["rm", "box"]) == 125
    assert "running on node7" in capsys.readouterr().err
    assert main(["stop", "box"]) == 125
    assert "runs on node7" in capsys.readouterr().err
    assert main(["rm", "-f", "box"]) == 0


@pytest.mark.parametrize("command", ["exec box true", "kill box", "wait box", "top box", "logs box"])
def test_commands_tell_that_nothing_runs(
    store: Store,
    container: Container,
    command: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UDOCKER_DIR", str(store.paths.root))
    assert main(command.split()) == 125
    error = capsys.readouterr().err
    assert error.startswith(f"udocker: {command.split()[0]}: box: ")
    assert len(error.splitlines()) == 2
