"""What ``udocker_batch`` offers to programs."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import udocker_batch

MODULES = {path.stem for path in (Path(__file__).parents[2] / "batch").iterdir()}


@pytest.mark.parametrize("name", udocker_batch.__all__)
def test_every_name_is_there_and_no_module_can_take_its_place(name: str) -> None:
    assert getattr(udocker_batch, name).__module__.startswith("udocker_batch.")
    assert name not in MODULES


def test_a_job_file_may_name_variables_of_who_loads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPTH", "3")
    monkeypatch.delenv("NOSUCH", raising=False)
    path = tmp_path / "job.yaml"
    path.write_text("image: x\nenv: {DEPTH: , NOSUCH: null, MODE: fast}\n")
    assert udocker_batch.load(path, "local").env == (("DEPTH", "3"), ("MODE", "fast"))


def test_names_are_told_once_and_others_are_errors() -> None:
    assert sorted(udocker_batch.__all__) == sorted(udocker_batch._WHERE)
    with pytest.raises(AttributeError, match="nothing"):
        udocker_batch.nothing  # noqa: B018 - asked for, not used
    assert importlib.import_module("udocker_batch.submission").submit is not udocker_batch.submit
