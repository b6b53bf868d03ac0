"""Prepare once: one pull and one unpacking, whoever comes, whoever dies, wherever it dies."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.faulty_registry import FaultyRegistry, cut, drop, hang, status
from tests.services.waiting import wait_until
from tests.unit.preparing import Site, add_app
from udocker import api
from udocker.api import resolve
from udocker.config import Config
from udocker.errors import RegistryError
from udocker.model.reference import ImageReference
from udocker.run.images import pull
from udocker_batch.accounting.records import JobRecords
from udocker_batch.taskspec import TaskSpec


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        add_app(registry)
        yield registry


@pytest.fixture
def site(tmp_path: Path, registry: FaultyRegistry) -> Site:
    return Site(tmp_path, registry)


def test_of_many_at_once_one_prepares_and_the_others_wait(site: Site, registry: FaultyRegistry) -> None:
    processes = [site.start() for _ in range(12)]
    results = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    roles = [result["role"] for result in results]
    assert roles.count("prepared") == 1
    assert set(roles) <= {"prepared", "waited", "warm"}
    assert len({result["container"] for result in results}) == 1
    assert len(registry.asked("GET .*/blobs/")) == 4  # three layers and the configuration
    assert len(site.store.containers.ids()) == 1
    site.assert_nothing_half_made()


def test_a_warm_start_takes_no_lock_and_asks_no_registry(site: Site, registry: FaultyRegistry) -> None:
    site.run()
    before = sorted(path.name for path in site.store.paths.locks.rglob("*"))
    asked = len(registry.requests)
    status_, result = site.run()
    assert (status_, result["role"], result["count"]) == (0, "warm", 0)
    assert sorted(path.name for path in site.store.paths.locks.rglob("*")) == before
    assert [request.method for request in registry.requests[asked:]] == ["HEAD"]  # the test's own resolve


def test_killed_at_any_step_the_next_one_finishes_the_work(tmp_path: Path, registry: FaultyRegistry) -> None:
    (tmp_path / "whole").mkdir()
    total = Site(tmp_path / "whole", registry).run()[1]["count"]
    assert isinstance(total, int)
    assert total > 40
    seen: set[str] = set()
    for deadly in range(1, total + 1, max(1, total // 40)):
        path = tmp_path / str(deadly)
        path.mkdir()
        site = Site(path, registry)
        assert site.run(deadly)[0] == -signal.SIGKILL
        site.assert_nothing_half_made()
        # Blobs that are coming lie in tmp/partial, where the next pull finds them; the rest in a workspace.
        for entry in site.directory.glob("tmp/*/*"):
            seen.add(entry.parent.name if entry.parent.name == "partial" else entry.name.partition("-")[0])
        status_, result = site.run()
        assert status_ == 0
        assert result["role"] in ("prepared", "warm")
        site.assert_nothing_half_made()
        assert len(site.store.containers.ids()) == 1
        # One that was killed right after the publication leaves its workspace, empty by then.
        assert list(site.store.paths.tmp.glob("*/*")) == []
    assert {"partial", "create"} <= seen  # it was killed in the pull and in the unpacking, among others


def test_one_that_waits_takes_over_when_the_holder_is_killed_in_its_pull(
    site: Site, registry: FaultyRegistry
) -> None:
    registry.fail("GET .*/blobs/", hang(20), times=1)
    holder = site.start()
    wait_until(lambda: registry.asked("GET .*/blobs/"), "the first request for a layer")
    waiter = site.start()
    holder.kill()
    holder.wait()
    assert json.loads(waiter.communicate(timeout=60)[0])["role"] == "prepared"
    site.assert_nothing_half_made()


def test_a_holder_that_is_interrupted_gives_way_to_those_who_wait(
    site: Site, registry: FaultyRegistry
) -> None:
    registry.fail("GET .*/blobs/", hang(20), times=1)
    holder = site.start()
    wait_until(lambda: registry.asked("GET .*/blobs/"), "the first request for a layer")
    waiter = site.start()
    holder.send_signal(signal.SIGINT)
    holder.wait()
    assert json.loads(waiter.communicate(timeout=60)[0])["role"] == "prepared"


def test_a_task_that_is_stopped_while_it_prepares_leaves_a_record(
    site: Site, registry: FaultyRegistry
) -> None:
    registry.fail("GET .*/blobs/", hang(20), times=1)
    pinned = api.resolve(Config.from_environment(site.environment), site.image)
    task = TaskSpec(image=pinned, command=(), udocker_dir=str(site.directory))
    environment = {**site.environment, "UDOCKER_BATCH_TASK": task.to_json(), "UDOCKER_SCHEDULER": "slurm"}
    environment.update({"UDOCKER_JOB_ID": "17", "UDOCKER_TASK_ATTEMPT": "1"})
    command = [sys.executable, "-m", "udocker_batch.cli", "task"]
    stopped = subprocess.Popen(command, env=environment)
    wait_until(lambda: registry.asked("GET .*/blobs/"), "the first request for a layer")
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(timeout=60) == 143
    [record] = JobRecords(site.directory, "slurm", "17").read().usages
    assert (record.state, record.exit_status, record.attempt) == ("ended", 143, 1)


def test_those_who_wait_learn_why_the_holder_failed(site: Site, registry: FaultyRegistry) -> None:
    registry.fail("GET .*/manifests/sha256", hang(2), times=1)
    registry.fail("GET .*/blobs/", status(404))
    processes = [site.start() for _ in range(6)]
    results = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert all("error" in result for result in results)
    assert len({result["error"] for result in results}) == 1
    assert site.store.containers.ids() == []
    site.assert_nothing_half_made()


def test_a_failure_is_not_remembered(site: Site, registry: FaultyRegistry) -> None:
    registry.fail("GET .*/blobs/", status(404), times=1)
    assert site.run()[0] == 125
    assert site.run()[1]["role"] == "prepared"


def test_a_connection_cut_in_mid_layer_is_resumed(site: Site, registry: FaultyRegistry) -> None:
    registry.fail("GET .*/blobs/", cut(100), times=1)
    assert site.run()[1]["role"] == "prepared"
    assert any("range" in request.headers for request in registry.asked("GET .*/blobs/"))
    site.assert_nothing_half_made()


def test_an_image_that_is_here_is_submitted_and_prepared_without_its_registry(
    tmp_path: Path, registry: FaultyRegistry
) -> None:
    """A cluster without a network: the image was pulled by its tag, or loaded, before."""
    site = Site(tmp_path, registry)
    config = Config.from_environment(site.environment)
    reference = ImageReference.parse(site.image)
    digest = pull(config, reference).digest
    registry.fail(".*", drop())
    assert resolve(config, site.image) == f"{registry.host}/team/app@{digest}"
    assert site.run()[1]["role"] == "prepared"
    site.assert_nothing_half_made()


def test_an_image_that_its_registry_no_longer_has_is_not_taken_from_the_store(
    tmp_path: Path, registry: FaultyRegistry
) -> None:
    site = Site(tmp_path, registry)
    config = Config.from_environment(site.environment)
    pull(config, ImageReference.parse(site.image))
    registry.fail(".*", status(404))
    with pytest.raises(RegistryError):
        resolve(config, site.image)
