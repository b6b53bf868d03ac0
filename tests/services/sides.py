"""How the tests are handed out to processes that run side by side (`pytest -n`)."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

# The files with tests of the cluster; who hands out sees no more of a test than its name.
OF_THE_CLUSTER = tuple(
    f"tests/real/test_{name}.py"
    for name in (
        "batch_api",
        "demo",
        "ends",
        "hooks",
        "hostile_values",
        "main_job",
        "sbatch",
        "services",
        "srun",
    )
)


class Handing(LoadScopeScheduling):
    """A file at a time, and to one process all that need the cluster: they kill nodes and change settings."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return "cluster" if file in OF_THE_CLUSTER else file


def put_in_order(items: list[pytest.Item]) -> None:
    """Let the cluster's files come first: they take longest, and mostly wait.

    Raises pytest.UsageError for a test of the cluster in another file.
    """
    for item in items:
        if "slurm" in getattr(item, "fixturenames", ()) and item.location[0] not in OF_THE_CLUSTER:
            raise pytest.UsageError(f"{item.nodeid} is of the cluster: name its file in {__name__}")
    items.sort(key=lambda item: item.location[0] not in OF_THE_CLUSTER)
