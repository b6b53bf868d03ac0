"""The engines' table, and engine R without a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from udocker.engine import select
from udocker.engine.base import Engine, Support
from udocker.engine.binaries import locate
from udocker.engine.select import DEFAULT_MODE, ENGINES, MODES, choose
from udocker.engine.userns import UsernsEngine
from udocker.errors import EngineUnavailable, UsageError
from udocker.model.mode import ExecutionMode


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_every_mode_has_its_engine_and_every_engine_its_modes() -> None:
    assert {mode.family for mode in MODES} == set(ENGINES)
    assert MODES[0] == DEFAULT_MODE


@pytest.mark.parametrize("mode", sorted(set(ExecutionMode) - set(MODES), key=lambda mode: mode.value))
def test_a_mode_without_engine_is_refused_with_those_there_are(mode: ExecutionMode) -> None:
    with pytest.raises(UsageError, match=f"{mode.value}: known, but") as caught:
        choose(mode)
    assert DEFAULT_MODE.value in caught.value.hint


def test_a_mode_that_nobody_knows_is_told_from_one_without_engine() -> None:
    with pytest.raises(UsageError, match="'X9': unknown"):
        ExecutionMode.parse("X9")


def test_missing_native_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="lacks its native program"):
        locate("udocker-userns", tmp_path)


def test_native_program_without_permission_is_named(tmp_path: Path) -> None:
    path = script(tmp_path / "udocker-userns", "")
    path.chmod(0o644)
    with pytest.raises(EngineUnavailable, match="cannot be executed"):
        locate("udocker-userns", tmp_path)


def test_working_launcher_is_supported(tmp_path: Path) -> None:
    assert UsernsEngine(script(tmp_path / "launcher", '[ "$*" = --probe ]')).check() == Support(True)


def test_launchers_line_is_the_reason(tmp_path: Path) -> None:
    program = script(tmp_path / "launcher", "echo 'udocker: run: user namespace: switched off' >&2; exit 125")
    assert UsernsEngine(program).check() == Support(False, "user namespace: switched off")


def test_launcher_that_dies_silently_has_a_reason(tmp_path: Path) -> None:
    support = UsernsEngine(script(tmp_path / "launcher", "kill -9 $$")).check()
    assert support == Support(False, "ended with status -9")


def test_launcher_that_cannot_start_has_a_reason(tmp_path: Path) -> None:
    support = UsernsEngine(tmp_path / "missing").check()
    assert not support.available
    assert "No such file" in support.reason


@pytest.mark.parametrize("mode", [None, ExecutionMode.R1])
def test_choice_fails_with_every_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: ExecutionMode
) -> None:
    engine: Engine = UsernsEngine(script(tmp_path / "launcher", "echo because of this >&2; exit 125"))
    monkeypatch.setattr(select, "ENGINES", {family: engine for family in ENGINES})
    with pytest.raises(EngineUnavailable, match="R1: because of this"):
        choose(mode)


def test_choice_is_the_first_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = UsernsEngine(script(tmp_path / "launcher", "exit 0"))
    monkeypatch.setattr(select, "ENGINES", {"R": engine})
    assert choose(None) == (engine, ExecutionMode.R1)
