"""How the tests are handed out to processes that run side by side (`pytest -n`)."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

# What xdist adds to the name of a test that is marked with this group.
CLUSTER = "cluster"


class Handing(LoadScopeScheduling):
    """A file at a time, and to one process every test of the cluster: they kill nodes and change settings."""

    def _split_scope(self, nodeid: str) -> str:
        return CLUSTER if nodeid.endswith(f"@{CLUSTER}") else nodeid.split("::", 1)[0]


def mark_cluster(items: list[pytest.Item]) -> None:
    """Mark the tests of the cluster, and let them come first: they take longest, and mostly wait."""
    for item in items:
        if _uses_cluster(item):
            item.add_marker(pytest.mark.xdist_group(CLUSTER))
    items.sort(key=lambda item: not _uses_cluster(item))


def _uses_cluster(item: pytest.Item) -> bool:
    return "slurm" in getattr(item, "fixturenames", ())
