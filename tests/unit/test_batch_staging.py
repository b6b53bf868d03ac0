"""Staging on a node: one file on the shared store, one copy a node, whoever is killed at whatever step."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.faulty_registry import FaultyRegistry, Request, hang, status
from tests.services.images import ImageBuilder, file
from tests.services.waiting import wait_until
from tests.unit.preparing import Site, add_app, archives, assert_whole, copies, unfinished
from udocker import api
from udocker.errors import StoreCorrupt
from udocker.store.packed import packed_size
from udocker.system.files import tree_size
from udocker_batch.cli import main
from udocker_batch.nodestore import NodeStore
from udocker_batch.prepare import prepare
from udocker_batch.staging import place_of, prepare_images, release, staged_archive

BLOB = "GET .*/blobs/"


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as registry:
        add_app(registry)
        yield registry


@pytest.fixture
def site(tmp_path: Path, registry: FaultyRegistry) -> Site:
    return Site(tmp_path, registry, "node")


def config_of(site: Site, **changes: object) -> api.Config:
    settings = {name: str(value) for name, value in changes.items()}
    return api.Config.from_environment({**site.environment, **settings})


def test_of_many_at_once_one_packs_and_unpacks_and_the_others_wait(
    site: Site, registry: FaultyRegistry
) -> None:
    processes = [site.start() for _ in range(12)]
    results = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    roles = Counter(str(result["role"]) for result in results)
    assert roles["prepared"] == 1
    assert set(roles) <= {"prepared", "waited", "warm"}
    assert len(registry.asked(BLOB)) == 4  # three layers and the configuration
    assert len(copies(site)) == len(archives(site)) == 1
    assert not list((site.directory / "containers").iterdir())
    assert_whole(site)
    assert unfinished(site) == []


def test_another_node_unpacks_the_file_and_asks_no_registry(site: Site, registry: FaultyRegistry) -> None:
    site.run()
    asked = len(registry.asked("GET .*"))
    for number in range(2):
        other = site.node.parent / f"node{number}"
        other.mkdir()
        site.environment["UDOCKER_NODE_DIR"] = str(other)
        assert site.run()[1]["role"] == "staged"
        assert site.run()[1]["role"] == "warm"
        [copy] = other.glob("udocker-stage-*/*/containers/*")
        site.assert_complete(copy / "ROOT")
    assert len(registry.asked("GET .*")) == asked


def test_one_that_waits_takes_over_when_the_maker_is_killed(site: Site, registry: FaultyRegistry) -> None:
    registry.fail(BLOB, hang(20), times=1)
    maker = site.start()
    wait_until(lambda: registry.asked(BLOB), "the first request for a layer")
    waiter = site.start()
    maker.kill()
    maker.wait()
    assert json.loads(waiter.communicate(timeout=60)[0])["role"] == "prepared"
    assert_whole(site)


def test_those_who_wait_learn_why_the_maker_failed(site: Site, registry: FaultyRegistry) -> None:
    registry.fail("GET .*/manifests/sha256", hang(2), times=1)
    registry.fail(BLOB, status(404))
    processes = [site.start() for _ in range(6)]
    results = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert len({result["error"] for result in results}) == 1
    assert copies(site) == archives(site) == []
    assert unfinished(site) == []


def test_where_a_copy_is_too_large_tasks_run_in_the_shared_directory(site: Site) -> None:
    site.environment["UDOCKER_NODE_MAX"] = "4k"
    results = [
        json.loads(process.communicate(timeout=120)[0]) for process in [site.start() for _ in range(6)]
    ]
    assert {result["store"] for result in results} == {str(site.directory)}
    assert Counter(result["role"] for result in results)["prepared"] == 1
    assert copies(site) == []
    assert sizes(site) == []
    assert len(archives(site)) == 1
    assert_whole(site)
    assert unfinished(site) == []
    del site.environment["UDOCKER_NODE_MAX"]
    assert site.run()[1]["role"] == "staged"


def sizes(site: Site) -> list[Path]:
    """What is written down of how much room copies have."""
    return sorted(site.node.glob("udocker-stage-*/*/use/*.size"))


@pytest.mark.parametrize("size", ["8k", "24k", "40k"])
def test_on_a_node_whose_disk_is_full_a_task_runs_in_the_shared_directory(
    site: Site, tmp_path: Path, size: str
) -> None:
    """Wherever the last byte is written: what is half made is removed, and one line tells."""
    site.environment["UDOCKER_NODE_MAX"] = "1G"  # the disk alone bounds
    script = (
        'mount -t tmpfs -o size="$0" none "$UDOCKER_NODE_DIR" || exit 99; "$@"; status=$?; '
        'find "$UDOCKER_NODE_DIR" -type f -size +0 | grep -v "/locks/"; exit $status'
    )
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, size, *site.command()]
    done = subprocess.run(command, env=site.environment, capture_output=True, text=True, timeout=120)
    if done.returncode in (1, 99) and "Traceback" not in done.stderr:
        pytest.skip(f"needs user namespaces in which a tmpfs can be mounted: {done.stderr}")
    assert done.returncode == 0, done
    told, *left = done.stdout.splitlines()
    assert json.loads(told)["store"] == str(site.directory)
    assert left == []
    assert len(done.stderr.splitlines()) == 1
    assert ": no room" in done.stderr
    assert done.stderr.endswith(": runs in the shared directory\n")
    assert_whole(site)


def test_a_damaged_file_is_one_clear_error(site: Site) -> None:
    site.run()
    [archive] = archives(site)
    data = archive.read_bytes()
    for broken in (data[:-100], data[: len(data) // 2] + b"x" + data[len(data) // 2 + 1 :], b""):
        archive.write_bytes(broken)
        api.remove_tree(copies(site)[0]) if copies(site) else None
        status_, result = site.run()
        assert status_ == 125
        assert "unpack" in str(result["error"])
        assert copies(site) == []
    with pytest.raises(StoreCorrupt, match="not a packed container"):
        packed_size(archive)


def test_the_size_in_the_file_is_what_the_copy_takes(site: Site) -> None:
    site.run()
    [archive], [copy] = archives(site), copies(site)
    assert 0.5 < packed_size(archive) / tree_size(copy) < 2


def test_without_keep_the_last_one_who_leaves_removes_the_copy(site: Site) -> None:
    config = config_of(site, UDOCKER_NODE_DIR="")
    environ = {"TMPDIR": str(site.node)}
    image = api.resolve(config, site.image)
    with place_of(config, image, "node", environ, keep=False) as place:
        with place_of(config, image, "node", environ, keep=False):
            pass
        assert len(copies(site)) == 1
        assert api.has_container(place.config, place.preparation.container)
    assert copies(site) == []
    with place_of(config, image, "node", environ, keep=True):
        pass
    assert len(copies(site)) == 1
    assert release(config, environ) == []
    [copy] = copies(site)
    assert release(config, environ, [copy.name]) == [copy.name]
    assert copies(site) == []


def test_images_that_are_fetched_with_the_first_are_ready_too(
    tmp_path: Path, registry: FaultyRegistry
) -> None:
    others = [add_small(registry, f"team/other{number}") for number in range(3)]
    for stage in ("shared", "node"):
        (tmp_path / stage).mkdir()
        site = Site(tmp_path / stage, registry, stage)
        config = config_of(site)
        images = [api.resolve(config, image) for image in (site.image, *others)]
        prepare_images(config, stage, images, {})
        if stage == "shared":
            assert len(site.store.containers.ids()) == 4
        else:
            assert len(archives(site)) == 4
        before = len(registry.asked(BLOB))
        with place_of(config, images[0], stage, {}, images[1:]) as place:
            for image in images:
                assert api.has_container(place.config, api.prepared_container(config, image))
        assert len(registry.asked(BLOB)) == before


def add_small(registry: FaultyRegistry, name: str) -> str:
    builder = ImageBuilder()
    layers = [builder.layer([file(f"{name}/{number}", os.urandom(100))]) for number in range(3)]
    registry.add(builder, name, "1", builder.image(layers, cmd=["/x"]))
    return f"{registry.host}/{name}:1"


def test_no_more_images_are_pulled_at_a_time_than_may_be(tmp_path: Path, registry: FaultyRegistry) -> None:
    """As from many nodes: each process wants another image, and blobs come slowly."""
    images = [add_small(registry, f"team/many{number}") for number in range(10)]
    lock, now, most = threading.Lock(), Counter[str](), [0]

    def slow(request: Request) -> None:
        with lock:
            now[request.path.split("/blobs/")[0]] += 1
            most[0] = max(most[0], sum(now.values()))
            open_names = [name for name, count in now.items() if count]
            assert len(open_names) <= 2
        threading.Event().wait(0.05)
        with lock:
            now[request.path.split("/blobs/")[0]] -= 1

    registry.hold(BLOB, slow)
    site = Site(tmp_path, registry)
    site.environment.update(UDOCKER_REGISTRY_PULLS="2", UDOCKER_REGISTRY_PARALLEL="2")
    processes = [site.start(image=image) for image in images]
    results = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert [result.get("role") for result in results] == ["prepared"] * 10
    assert 0 < most[0] <= 4


def test_a_registry_that_says_later_is_asked_again_by_each(tmp_path: Path, registry: FaultyRegistry) -> None:
    images = [add_small(registry, f"team/busy{number}") for number in range(4)]
    registry.fail(BLOB, status(429, Retry_After="1"), times=6)
    registry.fail("GET .*/manifests/sha256", status(503), times=3)
    site = Site(tmp_path, registry)
    site.environment["UDOCKER_REGISTRY_RETRIES"] = "5"
    processes = [site.start(image=image) for image in images]
    results = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert [result.get("role") for result in results] == ["prepared"] * 4


def test_what_a_site_has_below_is_used_and_not_pulled(tmp_path: Path, registry: FaultyRegistry) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "user").mkdir()
    below = Site(tmp_path / "site", registry)
    config = config_of(below)
    image = api.resolve(config, below.image)
    api.ensure_image(config, image)
    asked = len(registry.asked(BLOB))
    user = Site(tmp_path / "user", registry, "node")
    over = config_of(user, UDOCKER_LOWER=below.directory)
    # The site has the image: its layers are read, and the user's store gets no blob of its own.
    with place_of(over, image, "node", {}) as place:
        assert place.preparation.role == "prepared"
        assert not place.preparation.pulled
    assert list((user.directory / "layers").iterdir()) == []
    # The site has the container: nothing is made at all.
    prepare(config, image)
    with place_of(over, image, "shared", {}) as place:
        assert place.preparation.role == "warm"
    assert list((user.directory / "containers").iterdir()) == []
    assert len(registry.asked(BLOB)) == asked


def test_the_file_of_a_container_lies_beside_the_jobs(site: Site) -> None:
    config = config_of(site)
    assert staged_archive(config, "x") == site.directory / "batch" / "staged" / "x.tar.zst"
    assert NodeStore(config, site.node).directory.parent.parent == site.node


def test_engines_of_the_shared_store_are_the_nodes_too(site: Site) -> None:
    engines = site.directory / "bin" / "engines"
    engines.mkdir(parents=True)
    site.run()
    [link] = site.node.glob("udocker-stage-*/*/bin/engines")
    assert link.resolve() == engines
    [copy] = copies(site)
    api.remove_tree(copy)
    assert site.run()[1]["role"] == "staged"


def test_the_command_prepares_several_images(
    site: Site, registry: FaultyRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = add_small(registry, "team/other")
    for name, value in site.environment.items():
        monkeypatch.setenv(name, value)
    assert main(["prepare", "--stage=node", site.image, other]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(image.partition("@")[0], role) for image, _, role in lines] == [
        (site.image.rpartition(":")[0], "prepared"),
        (other.rpartition(":")[0], "prepared"),
    ]
    assert len(archives(site)) == 2


@pytest.mark.parametrize("stage", ["shared", "node"])
def test_without_a_gate_all_the_same_one_prepares(
    tmp_path: Path, registry: FaultyRegistry, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    site = Site(tmp_path, registry, stage)
    config = config_of(site)
    image = api.resolve(config, site.image)
    monkeypatch.setattr(NodeStore, "gate", lambda self, name: Path("/dev/full/gate"))
    with place_of(config, image, stage, {}) as place:
        assert place.preparation.role == "prepared"


def test_a_node_without_a_directory_for_gates_prepares_in_the_shared_store(
    tmp_path: Path, registry: FaultyRegistry
) -> None:
    site = Site(tmp_path, registry)
    config = config_of(site, UDOCKER_NODE_DIR="/no/such/directory")
    with place_of(config, api.resolve(config, site.image), "shared", {}) as place:
        assert place.preparation.role == "prepared"


def test_cleaning_up_that_fails_costs_the_task_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(site)

    def fail(node: NodeStore, unused: float) -> None:
        raise api.StoreError("stage: disk: Input/output error")

    monkeypatch.setattr(NodeStore, "sweep", fail)
    with place_of(config, api.resolve(config, site.image), "node", {}):
        pass
    assert "Input/output error" in caplog.text
