"""What unit tests stand on: nothing that has to be installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.faulty_registry import FaultyRegistry
from tests.unit.pulling import Puller


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    """A registry on loopback that fails on order."""
    with FaultyRegistry() as service:
        yield service


@pytest.fixture
def udocker(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Puller:
    """``udocker`` over a store of the test's own."""
    return Puller(tmp_path, monkeypatch, capfd, caplog)
