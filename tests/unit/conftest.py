"""What unit tests stand on: nothing that has to be installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.faulty_registry import FaultyRegistry


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    """A registry on loopback that fails on order."""
    with FaultyRegistry() as service:
        yield service
