"""What the commands over runs say and end with, as docker's do."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_runs import container, program
from udocker.cli import exec_
from udocker.cli.main import main
from udocker.config import Config
from udocker.engine.base import Launch
from udocker.model.container import Container
from udocker.model.runrecord import EXEC, RUN, TASK, RunRecord
from udocker.run import notes
from udocker.store.store import Store
from udocker.system.process import ProcessIdentity

__all__ = ["container", "program"]  # fixtures

LAUNCH = Launch(("/launcher", "--root", "/r", "--", "sleep", "9"), {}, "/")
DEAD = replace(ProcessIdentity.current(), start=1)
BOTH = pytest.CaptureFixture[str]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of one container, box, and notes of these tests' own."""
    monkeypatch.setenv("UDOCKER_DIR", str(tmp_path / "store"))
    above = tmp_path / "node"
    above.mkdir(mode=0o700)
    monkeypatch.setattr(notes, "_directory", lambda: str(above / "runs"))
    return Store.at(Config(str(tmp_path / "store"))).create()


def record(container: Container, **changes: Any) -> RunRecord:
    words = (container.id, container.directory, RUN, "T2", LAUNCH.argv, LAUNCH.env)
    return replace(RunRecord(*words, ProcessIdentity.current(), None, 1.0), **changes)


def test_a_run_in_the_background_makes_room_for_its_own_records(store: Store, container: Container) -> None:
    changes: list[dict[str, Any]] = [
        {"ended": 2.0, "status": 0},
        {"keeper": replace(DEAD, pid=1)},
        {"keeper": replace(DEAD, pid=2), "began": 9.0, "ended": 9.5, "status": 0},
        {"keeper": replace(DEAD, pid=3), "ended": 2.0, "status": 0, "remove": True},
        {"keeper": replace(DEAD, pid=4, host="other")},
    ]
    kept = [store.runs.write(record(container, **one)) for one in changes]
    for run in kept:
        run.log.write_text("printed")
    store.runs.forget_ended(container.id, 9.0)
    assert [run.path.exists() for run in kept] == [False, False, True, True, True]
    assert [run.log.exists() for run in kept] == [False, False, True, True, True]


def test_stop_of_what_never_ran_has_nothing_to_do(container: Container, capsys: BOTH) -> None:
    assert main(["stop", "box"]) == 0
    assert capsys.readouterr() == ("box\n", "")


@pytest.mark.parametrize("changes", [{"ended": 2.0, "status": 3}, {"keeper": DEAD}])
def test_stop_of_what_has_ended_has_nothing_to_do(
    store: Store, container: Container, capsys: BOTH, changes: dict[str, Any]
) -> None:
    store.runs.write(record(container, **changes))
    assert main(["stop", "box"]) == 0
    assert capsys.readouterr() == ("box\n", "")


def test_stop_ends_what_has_joined_a_run_that_is_over(
    container: Container, program: ProcessIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProcessIdentity, "current", lambda: program)
    notes.note(container, LAUNCH, "T2", EXEC)
    assert main(["stop", "box"]) == 0
    assert program.is_dead() is True


def test_stop_tells_of_tasks_that_it_does_not_end(
    container: Container, program: ProcessIdentity, monkeypatch: pytest.MonkeyPatch, capsys: BOTH
) -> None:
    monkeypatch.setattr(ProcessIdentity, "current", lambda: program)
    notes.note(container, LAUNCH, "T2", TASK)
    assert main(["stop", "box"]) == 125
    assert "only tasks of jobs run in it" in capsys.readouterr().err
    assert program.is_dead() is False


def test_kill_of_what_has_ended_is_told(store: Store, container: Container, capsys: BOTH) -> None:
    store.runs.write(record(container, ended=2.0, status=3))
    assert main(["kill", "box"]) == 125
    assert capsys.readouterr().err.startswith("udocker: kill: box: not running on this node\n")


def test_wait_for_what_has_ended_tells_its_status(store: Store, container: Container, capsys: BOTH) -> None:
    store.runs.write(record(container, ended=2.0, status=3))
    assert main(["wait", "box"]) == 0
    assert capsys.readouterr() == ("3\n", "")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ps -q", ["box"]),
        ("ps -q --no-trunc", ["box"]),
        ("ps -aq", ["box", "other"]),
        ("ps -a --quiet", ["box", "other"]),
    ],
)
def test_ps_tells_ids_alone_as_docker_does(
    store: Store,
    container: Container,
    program: ProcessIdentity,
    capsys: BOTH,
    line: str,
    expected: list[str],
) -> None:
    other = store.containers.create("image:1", {"os": "linux", "architecture": "amd64"}, lambda _: None)
    store.runs.write(record(container, keeper=DEAD, program=program))
    store.runs.write(record(other, ended=2.0, status=0))
    assert main(line.split()) == 0
    ids = {"box": container.id, "other": other.id}
    assert capsys.readouterr().out.split() == sorted(ids[name] for name in expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-e", "=x"], "exec: --env '=x': no name"),
        (["--env-file", "/no/such"], "exec: --env-file /no/such: No such file"),
        (["-w", "relative"], "exec: --workdir 'relative': not an absolute path"),
    ],
)
@pytest.mark.parametrize("detach", [[], ["-d"]])
def test_what_exec_refuses_is_told_as_its_own(
    store: Store,
    container: Container,
    program: ProcessIdentity,
    capsys: BOTH,
    detach: list[str],
    options: list[str],
    words: str,
) -> None:
    store.runs.write(record(container, keeper=DEAD, program=program))
    assert main(["exec", *detach, *options, "box", "true"]) == 125
    assert capsys.readouterr().err.startswith(f"udocker: {words}")


SCRIPT = 'case "$1" in refused) echo udocker: exec: words >&2; exit 126;; esac; exec sleep 600 2>/dev/null'


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        (("/bin/sh", "-c", SCRIPT, "sh", "refused"), 126, "udocker: exec: words\n"),
        (("/no/such/launcher",), 125, "udocker: exec: /no/such/launcher: No such file or directory\n"),
        (("/bin/sh", "-c", SCRIPT, "sh", "starts"), 0, ""),
    ],
)
def test_exec_in_the_background_tells_how_it_began(
    store: Store,
    container: Container,
    program: ProcessIdentity,
    capfd: BOTH,
    monkeypatch: pytest.MonkeyPatch,
    argv: tuple[str, ...],
    status: int,
    words: str,
) -> None:
    """By a script in the launcher's place, which closes standard error once it has started."""
    store.runs.write(record(container, keeper=DEAD, program=program))
    monkeypatch.setattr(exec_, "plan_join", lambda *_: Launch(argv, {"PATH": os.defpath}, "/"))
    with open(2, "w", encoding="utf-8", closefd=False) as errors:  # as a program has it, not as pytest
        monkeypatch.setattr(sys, "stderr", errors)
        assert main(["exec", "-d", "box", "true"]) == status
    assert capfd.readouterr() == ("", words)
    assert main(["stop", "-t", "0", "box"]) == 0
