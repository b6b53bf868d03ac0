"""kill -9 of staging at any step: the next one finishes the work, and nothing half made is ever seen."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.faulty_registry import FaultyRegistry
from tests.unit.preparing import Site, add_app, archives, assert_whole, copies, unfinished
from udocker import api

MOMENTS = int(os.environ.get("UDOCKER_FAULT_MOMENTS", "15"))


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        add_app(registry)
        yield registry


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("archive_there", [False, True])
def test_killed_at_any_step_the_next_one_finishes_the_work(
    tmp_path: Path, registry: FaultyRegistry, archive_there: bool
) -> None:
    def begin(name: str) -> Site:
        (tmp_path / name).mkdir()
        site = Site(tmp_path / name, registry, "node")
        if archive_there:
            assert site.run()[0] == 0
            for copy in copies(site):
                api.remove_tree(copy)
        return site

    total = begin("whole").run()[1]["count"]
    assert isinstance(total, int)
    assert total > 20
    seen: set[str] = set()
    step = max(1, total // MOMENTS)
    # Packing and publishing are few steps, near the end: each of these.
    for deadly in sorted({*range(1, total + 1, step), *range(total - 18, total + 1)}):
        site = begin(str(deadly))
        status, told = site.run(deadly)
        if status == 0:  # a run takes a step less or more than another: heartbeats
            assert told["count"] < deadly > total - 18
            continue
        assert status == -signal.SIGKILL
        assert_whole(site)
        seen.update(path.name.partition("-")[0] for path in site.node.glob("*/*/tmp/*/*"))
        seen.update(path.name.partition("-")[0] for path in site.directory.glob("tmp/*/*"))
        status, result = site.run()
        assert status == 0
        assert result["role"] in (("staged", "warm") if archive_there else ("prepared", "staged", "warm"))
        assert len(copies(site)) == len(archives(site)) == 1
        assert_whole(site)
        assert unfinished(site) == [], deadly
    assert seen >= ({"import"} if archive_there else {"create", "pack"})
