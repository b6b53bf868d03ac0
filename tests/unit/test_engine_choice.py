"""The engines' table, and engines without a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from udocker.engine import probed, select
from udocker.engine.base import Support
from udocker.engine.binaries import locate
from udocker.engine.probed import Probed
from udocker.engine.ptrace import PtraceEngine
from udocker.engine.select import ENGINES, MODES, choose, default_mode, engine_of
from udocker.engine.trap import TrapEngine
from udocker.engine.userns import UsernsEngine
from udocker.errors import EngineUnavailable, UsageError
from udocker.model.mode import ExecutionMode

R1, T1, T2 = ExecutionMode.R1, ExecutionMode.T1, ExecutionMode.T2
P1, P2 = ExecutionMode.P1, ExecutionMode.P2


@pytest.fixture(autouse=True)
def ordinary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller who is not root, whoever runs the tests."""
    monkeypatch.setattr(select, "preferred_modes", lambda: MODES)


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this user's answer is remembered."""
    place = tmp_path / "runtime"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    return place


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def offer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, userns: str, trap: str, ptrace: str = "exit 1"
) -> Path:
    """Put scripts in place of the launchers, which write down what they are asked."""
    asked = tmp_path / "asked"
    asked.touch()
    told = f'echo "$0 $*" | sed s,.*/,, >> {asked}\n'
    engines = {
        "R": lambda: UsernsEngine(script(tmp_path / "R", told + userns)),
        "T": lambda: TrapEngine(script(tmp_path / "T", told + trap)),
        "P": lambda: PtraceEngine(script(tmp_path / "P", told + ptrace)),
    }
    monkeypatch.setattr(select, "ENGINES", engines)
    return asked


def test_every_mode_has_its_engine_and_every_engine_its_modes() -> None:
    assert {mode.family for mode in MODES} == set(ENGINES)
    assert {mode: type(engine_of(mode)) for mode in MODES} == {
        R1: UsernsEngine,
        T2: TrapEngine,
        T1: TrapEngine,
        P1: PtraceEngine,
        P2: PtraceEngine,
    }


@pytest.mark.parametrize("mode", sorted(set(ExecutionMode) - set(MODES), key=lambda mode: mode.value))
def test_a_mode_without_engine_is_refused_with_those_there_are(mode: ExecutionMode) -> None:
    with pytest.raises(UsageError, match=f"{mode.value}: known, but") as caught:
        choose(mode)
    assert all(offered.value in caught.value.hint for offered in MODES)


def test_only_namespaces_take_from_root_what_a_container_shall_not_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert select.preferred_modes() == (R1, T2, T1, P1, P2)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert select.preferred_modes() == MODES


def test_a_mode_that_nobody_knows_is_told_from_one_without_engine() -> None:
    with pytest.raises(UsageError, match="'X9': unknown") as refused:
        ExecutionMode.parse("X9")
    offered = ", ".join(mode.value for mode in MODES)
    assert refused.value.hint == f"one of {offered}; udocker avail tells which of them work here"


def test_missing_native_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="lacks its native program"):
        locate("udocker-userns", tmp_path)


def test_native_program_without_permission_is_named(tmp_path: Path) -> None:
    path = script(tmp_path / "udocker-userns", "")
    path.chmod(0o644)
    with pytest.raises(EngineUnavailable, match="cannot be executed"):
        locate("udocker-userns", tmp_path)


MODE_PROBES = [
    (R1, "--probe"),
    (T1, "--probe"),
    (T2, "--patch --probe"),
    (P1, "--trace --probe"),
    (P2, "--trace-all --probe"),
]


@pytest.mark.parametrize(("mode", "asked"), MODE_PROBES)
def test_working_launcher_is_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: ExecutionMode, asked: str
) -> None:
    words = offer(monkeypatch, tmp_path, "exit 0", "exit 0", "exit 0")
    assert engine_of(mode).check(mode) == Support(True)
    assert words.read_text() == f"{mode.family} {asked}\n"


def test_launchers_line_is_the_reason(tmp_path: Path) -> None:
    program = script(tmp_path / "launcher", "echo 'udocker: run: user namespace: switched off' >&2; exit 125")
    assert UsernsEngine(program).check(R1) == Support(False, "user namespace: switched off")


def test_launcher_that_dies_silently_has_a_reason(tmp_path: Path) -> None:
    support = UsernsEngine(script(tmp_path / "launcher", "kill -9 $$")).check(R1)
    assert support == Support(False, "ended with status -9")


def test_launcher_that_cannot_start_has_a_reason(tmp_path: Path) -> None:
    support = TrapEngine(tmp_path / "missing").check(T1)
    assert not support.available
    assert "No such file" in support.reason


def test_a_mode_that_is_asked_for_is_taken_untried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = offer(monkeypatch, tmp_path, "exit 1", "exit 1")
    assert choose(T2)[1] == T2
    assert asked.read_text() == ""


def test_choice_fails_with_every_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Path
) -> None:
    said = (f"echo no {thing} >&2; exit 125" for thing in ("names", "traps", "tracers"))
    offer(monkeypatch, tmp_path, *said)
    reasons = "T2: no traps; R1: no names; T1: no traps; P1: no tracers; P2: no tracers"
    with pytest.raises(EngineUnavailable, match=reasons):
        choose(None)
    assert list(runtime.iterdir()) == []


@pytest.mark.parametrize(
    ("userns", "trap", "ptrace", "expected"),
    [
        ("exit 0", "exit 0", "exit 0", T2),
        ("exit 0", '[ "$1" = --probe ]', "exit 0", R1),
        ("exit 1", '[ "$1" = --probe ]', "exit 0", T1),
        ("exit 1", "exit 1", "exit 0", P1),
        ("exit 1", "exit 1", '[ "$1" = --trace-all ]', P2),
    ],
)
def test_choice_is_the_first_that_works_and_is_remembered(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    userns: str,
    trap: str,
    ptrace: str,
    expected: ExecutionMode,
) -> None:
    asked = offer(monkeypatch, tmp_path, userns, trap, ptrace)
    assert choose(None)[1] == expected
    times = asked.read_text()
    assert [choose(None)[1] for _ in range(3)] == [expected] * 3
    assert asked.read_text() == times


SPOILT = {
    "another boot": lambda path: path.write_text("x" + path.read_text()),
    "another mode": lambda path: path.write_text(path.read_text().replace("R1", "F1")),
    "nonsense": lambda path: path.write_bytes(b"\xff\0" * 10000),
    "empty": lambda path: path.write_text(""),
    "old": lambda path: os.utime(path, (1, 1)),
    "of the future": lambda path: os.utime(path, (1 << 40, 1 << 40)),
    "writable for others": lambda path: path.chmod(0o666),
    "a link": lambda path: path.symlink_to(path.rename(path.with_name("other"))),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "a fifo": lambda path: (path.unlink(), os.mkfifo(path, 0o600)),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_an_answer_that_cannot_be_believed_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Path, spoil: object
) -> None:
    offer(monkeypatch, tmp_path, "exit 0", "exit 1")
    assert default_mode() == R1
    (path,) = runtime.iterdir()
    spoil(path)  # type: ignore[operator]
    asked = offer(monkeypatch, tmp_path, "exit 0", "exit 0")
    asked.write_text("")
    assert default_mode() == T2
    assert asked.read_text() == "T --patch --probe\n"


def test_an_answer_for_other_engines_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, tmp_path, "exit 0", "exit 1")
    store = tmp_path / "store"
    assert default_mode(store) == R1
    offer(monkeypatch, tmp_path, "exit 0", "exit 0")
    assert default_mode(store) == R1
    (store / "bin/engines").mkdir(parents=True)
    (store / "bin/engines/SHA256SUMS").touch()
    assert default_mode(store) == T2


def test_a_host_without_a_place_to_remember_is_asked_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probed, "_directory", lambda: str(tmp_path / "missing"))
    offer(monkeypatch, tmp_path, "exit 0", "exit 1")
    assert default_mode() == R1
    offer(monkeypatch, tmp_path, "exit 0", "exit 0")
    assert default_mode() == T2


def test_the_answer_is_of_this_user_and_on_this_host(runtime: Path) -> None:
    found = Probed.here()
    assert found.path == f"{runtime}/udocker-{os.geteuid()}.engine"
    assert Path("/proc/sys/kernel/random/boot_id").read_text().strip() in found.key.split("\n")
