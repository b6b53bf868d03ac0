"""Prepare once on a file system as clusters have it: caches of a minute, locks that no other node sees."""

from __future__ import annotations

import errno
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.real.commands import unfinished
from tests.services.base_images import PushedImage
from tests.services.faultfs import EVERY, SPACE, Fault
from tests.services.images import ImageBuilder, directory, file
from tests.services.registry import Registry
from tests.services.sharedfs import Node, nodes
from tests.services.sharing import session_directory
from tests.services.users import User
from tests.services.waiting import matches, wait_until
from udocker_batch.taskspec import TaskSpec

TASKS = 200
JOB = "17"


@dataclass
class Cluster:
    """Nodes, a store on what they share, and a job's tasks as their batch system would start them."""

    nodes: list[Node]
    user: User
    programs: Path
    backing: Path
    image: str
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        """The store, seen from outside of the nodes."""
        return self.backing / "store"

    def start(self, number: int, node: Optional[Node] = None, **spec: Any) -> subprocess.Popen[str]:
        """Task ``number``, on one node after the other if none is said."""
        node = node or self.nodes[number % len(self.nodes)]
        directory = str(node.shared / "store")
        spec.setdefault("command", ("echo", "ran"))
        task = TaskSpec(image=self.image, udocker_dir=directory, **spec)
        env = {
            "UDOCKER_DIR": directory,
            "UDOCKER_BATCH_TASK": task.to_json(),
            "UDOCKER_SCHEDULER": "slurm",
            "UDOCKER_JOB_ID": JOB,
            "UDOCKER_TASK_ID": str(number),
            "UDOCKER_LOCK_BEAT": "0.5",
            "UDOCKER_LOCK_STALE": "8",
            **self.settings,
        }
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return node.popen(self.user, [self.programs / "udocker-batch", "task"], env, **streams)

    def finish(self, task: subprocess.Popen[str], timeout: float = 300) -> tuple[int, str, str]:
        out, err = task.communicate(timeout=timeout)
        return task.returncode, out, err

    def records(self) -> list[dict[str, Any]]:
        tasks = self.store / "batch" / "jobs" / f"slurm-{JOB}" / "tasks"
        return [json.loads(path.read_bytes()) for path in sorted(tasks.glob("*.json"))]

    def roles(self) -> Counter[str]:
        return Counter(record["prepare"] for record in self.records())

    def containers(self) -> list[Path]:
        return [path for path in (self.store / "containers").iterdir() if path.is_dir()]


@contextmanager
def cluster_of(user: User, programs: Path, image: PushedImage, **options: Any) -> Iterator[Cluster]:
    pinned = f"{image.reference.rpartition(':')[0]}@{image.digest}"
    with session_directory("nodes") as place, nodes(user, place, **options) as made:
        yield Cluster(made, user, programs, place / "backing", pinned)


def test_of_200_tasks_on_4_nodes_one_pulls_and_creates(
    user1: User, udocker_bin: Path, registry: Registry, busybox_image: PushedImage
) -> None:
    with cluster_of(user1, udocker_bin, busybox_image, delay=0.001) as cluster:
        registry.clear()
        tasks = [cluster.start(number) for number in range(TASKS)]
        results = Counter(cluster.finish(task) for task in tasks)
        assert results == {(0, "ran\n", ""): TASKS}
        assert len(cluster.records()) == TASKS
        assert cluster.roles()["prepared"] == 1
        assert len(cluster.containers()) == 1
        blobs = [request.path for request in registry.requests() if "/blobs/" in request.path]
        assert sorted(Counter(blobs).values()) == [1, 1]
        assert unfinished(cluster.store) == []


def test_of_100_tasks_on_4_nodes_each_node_unpacks_one_copy(
    user1: User, udocker_bin: Path, registry: Registry, busybox_image: PushedImage
) -> None:
    with cluster_of(user1, udocker_bin, busybox_image, delay=0.001) as cluster:
        registry.clear()
        tasks = [cluster.start(number, stage="node") for number in range(100)]
        results = Counter(cluster.finish(task) for task in tasks)
        assert results == {(0, "ran\n", ""): 100}
        roles = cluster.roles()
        assert (roles["prepared"], roles["staged"]) == (1, 3), roles
        assert roles["warm"] + roles["waited"] == 96
        blobs = [request.path for request in registry.requests() if "/blobs/" in request.path]
        assert sorted(Counter(blobs).values()) == [1, 1]
        assert cluster.containers() == []
        [archive] = (cluster.store / "batch" / "staged").iterdir()
        assert archive.name.endswith(".tar.zst")
        for node in cluster.nodes:
            [copy] = node.local.glob("udocker-stage-*/*/containers/*")
            assert (copy / "ROOT/bin/busybox").is_file()
            assert list(copy.parents[1].glob("tmp/*")) == []
        assert unfinished(cluster.store) == []


FAULTS = {
    "stale": Fault(errno.ESTALE, EVERY, first=20, count=1),
    "broken": Fault(errno.EIO, EVERY, first=40),
    "full": Fault(errno.ENOSPC, SPACE, first=10),
    "over quota": Fault(errno.EDQUOT, SPACE, first=10),
}


@pytest.mark.parametrize(
    ("stage", "kind"),
    [*(("shared", kind) for kind in (*FAULTS, "lost")), ("node", "full"), ("node", "lost")],
)
def test_when_a_node_fails_that_prepares_the_others_finish(
    user1: User, udocker_bin: Path, busybox_image: PushedImage, kind: str, stage: str
) -> None:
    with cluster_of(user1, udocker_bin, busybox_image, count=3) as cluster:
        bad, *good = cluster.nodes
        if kind == "lost":
            first = cluster.start(0, bad, stage=stage)
            wait_until(lambda: matches(cluster.store, "locks/*/g1"), "the lock", every=0.01)
            bad.disk.lose()
        else:
            bad.disk.set(FAULTS[kind])
            first = cluster.start(0, bad, stage=stage)
            wait_until(lambda: bad.disk.met().failed or first.poll() is not None, "the fault", every=0.01)
        others = [cluster.start(number, good[number % 2], stage=stage) for number in range(1, 9)]
        ended = [cluster.finish(task) for task in others]
        status, out, err = cluster.finish(first)
        # A failure is told to those who wait for it, and to nobody else.
        failed = [(number, end) for number, end in enumerate(ended) if end != (0, "ran\n", "")]
        assert all(end[0] == 125 and "Traceback" not in end[2] for _, end in failed), failed
        if status != 0:
            assert (status, out) == (125, ""), err
            assert err.startswith("udocker-batch: "), err
            assert "Traceback" not in err
        last = cluster.start(9, good[0], stage=stage)
        assert cluster.finish(last) == (0, "ran\n", "")
        if stage == "shared":
            assert len(cluster.containers()) == 1


@pytest.mark.parametrize("stage", ["shared", "node"])
def test_when_a_node_crashes_that_prepares_another_takes_over(
    user1: User, udocker_bin: Path, busybox_image: PushedImage, stage: str
) -> None:
    """Its beat stands still, which the others have to see through their caches."""
    with cluster_of(user1, udocker_bin, busybox_image, count=3, delay=0.01) as cluster:
        cluster.start(0, cluster.nodes[0], stage=stage)
        wait_until(
            lambda: (
                list(cluster.store.glob("locks/stage-*/g1")) + list(cluster.store.glob("locks/prepare-*/g1"))
            ),
            "the lock",
            every=0.005,
        )
        cluster.nodes[0].crash()
        others = [cluster.start(number, cluster.nodes[1 + number % 2], stage=stage) for number in range(1, 9)]
        assert Counter(cluster.finish(task) for task in others) == {(0, "ran\n", ""): 8}
        assert cluster.roles()["prepared"] == 1


def test_a_warm_task_with_a_copy_on_its_node_asks_the_shared_file_system_for_its_record_alone(
    user1: User, udocker_bin: Path, busybox_image: PushedImage
) -> None:
    with cluster_of(user1, udocker_bin, busybox_image, count=1) as cluster:
        [node] = cluster.nodes
        for number in range(2):
            assert cluster.finish(cluster.start(number, stage="node"))[0] == 0
        node.disk.clear()
        assert cluster.finish(cluster.start(2, stage="node", usage=False))[0] == 0
        # The settings of the store, which may have changed.
        assert set(node.disk.clear().operations) <= {"getattr"}
        assert cluster.finish(cluster.start(3, stage="node"))[0] == 0
        met = node.disk.met()
        kinds = {"getattr", "create", "write", "fsync", "flush", "rename"}
        assert set(met.operations) <= kinds
        assert met.metadata <= 24


@pytest.mark.parametrize("mode", ["R1", "T2"])
def test_an_epilog_removes_what_no_program_uses_whoever_was_killed(
    user1: User, udocker_bin: Path, busybox_image: PushedImage, mode: str
) -> None:
    """As root with the environment of a Slurm epilog, which has neither PATH nor HOME."""
    root = User("root", 0, 0, Path("/root"))
    epilog = [udocker_bin / "udocker-batch", "stage", "clean", "--user", str(user1.uid)]
    bare = {name: None for name in ("PATH", "HOME", "USER", "LOGNAME", "LANG")}
    with cluster_of(user1, udocker_bin, busybox_image, count=1) as cluster:
        [node] = cluster.nodes
        assert node.run(root, epilog, bare, check=True).stdout == ""
        cluster.settings["UDOCKER_DEFAULT_EXECUTION_MODE"] = mode
        task = cluster.start(0, stage="node", command=("sh", "-c", "echo up; exec sleep 1000"))
        assert task.stdout is not None
        assert task.stdout.readline() == "up\n"
        [copy] = node.local.glob("udocker-stage-*/*/containers/*")
        assert node.run(root, epilog, bare, check=True).stdout == ""
        hook = node.run(root, ["pgrep", "-f", "udocker-batch task"]).stdout.split()
        node.run(root, ["kill", "-KILL", *hook], check=True)
        assert node.run(root, epilog, bare, check=True).stdout == ""
        assert (copy / "ROOT/bin/busybox").is_file()
        program = node.run(root, ["pgrep", "-f", "sleep 1000"]).stdout.split()
        node.run(root, ["kill", "-KILL", *program], check=True)
        removed = wait_until(lambda: node.run(root, epilog, bare, check=True).stdout, "the eviction")
        assert removed == f"{copy.name} removed\n"
        assert not copy.exists()
        task.communicate()


def test_nobody_but_root_cleans_for_others(
    user1: User, user2: User, udocker_bin: Path, busybox_image: PushedImage
) -> None:
    with cluster_of(user1, udocker_bin, busybox_image, count=1) as cluster:
        [node] = cluster.nodes
        assert cluster.finish(cluster.start(0, stage="node"))[0] == 0
        command = [udocker_bin / "udocker-batch", "stage", "clean", "--user", user1.name]
        refused = node.run(user2, command)
        assert (refused.returncode, refused.stdout) == (125, "")
        assert "only root can act for others" in refused.stderr
        assert len(list(node.local.glob("udocker-stage-*/*/containers/*"))) == 1


@pytest.mark.parametrize("stage", ["shared", "node"])
def test_images_fetched_beforehand_are_pulled_once_by_all_nodes_together(
    user1: User, udocker_bin: Path, registry: Registry, busybox_image: PushedImage, stage: str
) -> None:
    images = [small_image(registry, number) for number in range(4)]
    with cluster_of(user1, udocker_bin, busybox_image) as cluster:
        registry.clear()
        cluster.settings["UDOCKER_REGISTRY_PULLS"] = "2"
        tasks = [cluster.start(number, stage=stage, prefetch=tuple(images)) for number in range(12)]
        assert Counter(cluster.finish(task) for task in tasks) == {(0, "ran\n", ""): 12}
        blobs = [request.path for request in registry.requests() if "/blobs/" in request.path]
        assert sorted(Counter(blobs).values()) == [1] * 10
        assert len(cluster.containers()) == (5 if stage == "shared" else 0)
        for node in cluster.nodes:
            copies = list(node.local.glob("udocker-stage-*/*/containers/*"))
            assert len(copies) == (0 if stage == "shared" else 5)
        assert unfinished(cluster.store) == []


def small_image(registry: Registry, number: int) -> str:
    builder = ImageBuilder()
    layer = builder.layer([directory("etc"), file("etc/number", bytes([number]) * 1000)])
    image = builder.image([layer], cmd=["/x"])
    builder.push(registry.url, f"test/small{number}", "1", image)
    return f"{registry.host}/test/small{number}@{image.digest}"
