"""The main job, end to end: an image from a registry, an array that runs in it, and what each task used."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.real.commands import unfinished
from tests.real.desk import Desk, make_desk
from tests.services.base_images import PushedImage
from tests.services.cluster import Slurm
from tests.services.registry import Registry
from tests.services.users import User

# `make test-array` has 1,000.
TASKS = int(os.environ.get("UDOCKER_TEST_TASKS", "40"))
WORK = (
    "import os, subprocess, sys; index = int(os.environ['UDOCKER_TASK_ID']); "
    "subprocess.run([sys.executable, '-c', 'sum(range(2000000))']); "
    "print('task', index, os.environ['UDOCKER_TASK_COUNT'], os.path.exists('/etc/debian_version'))"
)


def pulls(registry: Registry) -> tuple[int, int]:
    """How often a manifest's content was asked for, and how often each blob was: (manifests, blobs)."""
    gets = [request.path for request in registry.requests() if request.method == "GET"]
    blobs = [path for path in gets if "/blobs/" in path]
    assert len(blobs) == len(set(blobs)), "a blob was fetched twice"
    return len([path for path in gets if "/manifests/" in path]), len(blobs)


def assert_prepared_once(records: list[dict[str, Any]]) -> None:
    roles = [record["prepare"] for record in records]
    assert roles.count("prepared") == 1, roles
    assert set(roles) <= {"prepared", "waited", "warm"}


def containers(store: Path) -> list[Path]:
    return [path for path in (store / "containers").iterdir() if path.is_dir() and not path.is_symlink()]


def test_an_array_from_cold_pulls_and_creates_once(
    desk: Desk, slurm: Slurm, cluster_registry: Registry, debian_there: str
) -> None:
    cluster_registry.clear()
    options = (f"--array=0-{TASKS - 1}", "-oout-%a")
    job = desk.sbatch(debian_there, "python3", "-c", WORK, options=options)
    assert desk.call("udocker-batch", "wait", job, timeout=60 + 6 * TASKS).returncode == 0
    outputs = [(desk.directory / f"out-{index}").read_text() for index in range(TASKS)]
    assert outputs == [f"task {index} {TASKS} True\n" for index in range(TASKS)]
    assert pulls(cluster_registry) == (1, 4)  # three layers and the configuration
    assert len(containers(desk.store)) == 1
    records = desk.records(job)
    assert len(records) == TASKS
    assert_prepared_once(records)
    assert len({record["host"] for record in records}) > 1
    for record in records:
        assert record["state"] == "ended"
        assert record["exit_status"] == 0
        assert record["digest"].startswith("sha256:")
        assert record["user_seconds"] > 0.01
        assert record["peak_memory"] > 5 << 20
        assert record["written_bytes"] > 0
    usage = json.loads(desk.batch("usage", job, "--format=json"))
    assert len(usage["tasks"]) == TASKS
    table = desk.batch("usage", job)
    assert "total" in table
    assert len(re.findall(r"^│ \d+ +│ completed ", table, re.MULTILINE)) == TASKS


def test_our_cpu_is_what_slurm_measures(desk: Desk, slurm: Slurm, debian_there: str) -> None:
    """The burning is done by children that end long before any sampling would see them all."""
    burn = (
        "import subprocess as s, sys\nfor _ in range(8): s.run([sys.executable, '-c', 'sum(range(10**7))'])"
    )
    # Prepared before, because Slurm counts the pull and the unpacking of a task that does them.
    job = desk.sbatch(debian_there, "python3", "-c", burn, options=("--prepare=submit",))
    assert slurm.wait_for_end(job) == {job: "COMPLETED"}
    (record,) = desk.records(job)
    (allocation,) = (row for row in slurm.records(job, "TotalCPU") if row["JobID"] == job)
    *minutes, seconds = allocation["TotalCPU"].split(":")
    measured = record["user_seconds"] + record["system_seconds"]
    slurms = float(seconds) + 60 * int(minutes[-1] if minutes else 0)
    # Slurm counts the hook's own Python as well, which is measured here too, on its own.
    hook = desk.call("/usr/bin/env", "bash", "-c", f"time {desk.programs}/udocker-batch --help >/dev/null")
    overhead = sum(float(value) for value in re.findall(r"(?:user|sys)\s+0m([\d.]+)s", hook.stderr))
    assert 0.3 < measured <= slurms + 0.05
    assert slurms - measured < 10 * overhead


def test_two_users_with_two_arrays_at_once(
    desk: Desk, user2: User, udocker_bin: Path, place: Path, cluster_registry: Registry, debian_there: str
) -> None:
    other = make_desk(user2, udocker_bin, place / "two", place / "two" / "store", cluster_registry)
    cluster_registry.clear()
    arrays = [
        (each, each.sbatch(debian_there, "python3", "-c", WORK, options=("--array=0-9", "-oout-%a")))
        for each in (desk, other)
    ]
    for each, job in arrays:
        assert each.call("udocker-batch", "wait", job, timeout=300).returncode == 0
        assert_prepared_once(each.records(job))
        assert {record["exit_status"] for record in each.records(job)} == {0}
        assert {path.stat().st_uid for path in each.directory.glob("out-*")} == {each.user.uid}


def test_two_users_who_share_a_store_prepare_once_between_them(
    desk: Desk, user2: User, udocker_bin: Path, place: Path, cluster_registry: Registry, debian_there: str
) -> None:
    store = place / "group-store"
    store.mkdir()
    os.chown(store, desk.user.uid, _common_group(desk.user, user2))
    store.chmod(0o2770)
    desks = [
        make_desk(user, udocker_bin, place / user.name, store, cluster_registry)
        for user in (desk.user, user2)
    ]
    cluster_registry.clear()
    jobs = [each.sbatch(debian_there, "python3", "-c", WORK, options=("--array=0-9",)) for each in desks]
    for each, job in zip(desks, jobs):
        assert each.call("udocker-batch", "wait", job, timeout=300).returncode == 0
    assert_prepared_once([record for job in jobs for record in desks[0].records(job)])
    assert pulls(cluster_registry)[1] == 4
    assert len(containers(store)) == 1
    assert "total" in desks[1].batch("usage", jobs[0])


def _common_group(one: User, two: User) -> int:
    groups = set(os.getgrouplist(one.name, one.gid)) & set(os.getgrouplist(two.name, two.gid))
    return min(groups)


def test_when_the_node_that_prepares_dies_another_one_finishes(
    desk: Desk, slurm: Slurm, cluster_registry: Registry, debian_there: str
) -> None:
    """node1 crashes while it unpacks; tasks of other nodes see its heartbeat stop and take over."""
    options = ("--array=0-3", "--cpus-per-task=4", "--no-requeue", "-oout-%a")
    script = "import time; time.sleep(1)"
    job = desk.sbatch(debian_there, "python3", "-c", script, options=options)
    holder = _wait_for_unpacking(desk, slurm)
    slurm.kill_node(holder)
    try:
        states = slurm.wait_for_end(job, timeout=240)
        assert sorted(states.values()) == ["COMPLETED"] * 3 + ["NODE_FAIL"]
        (container,) = containers(desk.store)
        assert (container / "ROOT/usr/bin/python3").exists()
        completed = [record for record in desk.records(job) if record["state"] == "ended"]
        lines = [line.split() for line in desk.batch("status", job).splitlines()]
        assert sorted(line[1] for line in lines) == ["completed"] * 3 + ["node-failed"]
        assert_prepared_once(completed)
        assert unfinished(desk.store) == []
    finally:
        slurm.revive_node(holder)


def _wait_for_unpacking(desk: Desk, slurm: Slurm) -> str:
    """The node whose task holds the lock and has begun to unpack."""
    from tests.services.waiting import matches, wait_until

    wait_until(lambda: matches(desk.store, "tmp/*/create-*/ROOT/*"), "unpacking", every=0.005)
    (lock,) = (desk.store / "locks").glob("prepare-*")
    return str(json.loads((lock / "g1").read_text())["host"])


@pytest.mark.parametrize("prepare", ["submit", "job"])
def test_the_image_is_prepared_before_the_array_where_that_is_asked(
    desk: Desk, slurm: Slurm, debian_there: str, prepare: str
) -> None:
    options = ("--array=0-3", f"--prepare={prepare}", "-oout-%a")
    job = desk.sbatch(debian_there, "python3", "-c", WORK, options=options)
    if prepare == "submit":
        assert len(containers(desk.store)) == 1
    assert desk.call("udocker-batch", "wait", job, timeout=300).returncode == 0
    assert [record["prepare"] for record in desk.records(job)] == ["warm"] * 4


def test_a_job_file_runs_on_slurm_and_here_alike(desk: Desk, slurm: Slurm, debian_there: str) -> None:
    (desk.directory / "in").mkdir()
    (desk.directory / "in" / "data").write_text("input")
    program = (
        "import os; print(os.environ['UDOCKER_TASK_ID'], os.environ['SLURM_ARRAY_TASK_ID'], os.environ['V'], "
        "open('/in/data').read(), os.getcwd())"
    )
    (desk.directory / "job.yaml").write_text(
        json.dumps(
            {
                "name": "both",
                "image": debian_there,
                "command": ["python3", "-c", program],
                "array": "1,3",
                "mounts": ["in:/in:ro"],
                "env": {"V": "a b"},
                "workdir": "/tmp",
                "stdout": "%x-%a.txt",
                "time": "5m",
                "memory": "300M",
            }
        )
    )
    for scheduler in ("slurm", "local"):
        job = desk.batch("submit", "job.yaml", "--scheduler", scheduler).strip()
        assert desk.call("udocker-batch", "wait", job, "--scheduler", scheduler, timeout=300).returncode == 0
        for index in (1, 3):
            output = desk.directory / f"both-{index}.txt"
            assert output.read_text() == f"{index} {index} a b input /tmp\n"
            output.unlink()
        states = [
            line.split()[1] for line in desk.batch("status", job, "--scheduler", scheduler).splitlines()
        ]
        assert states == ["completed", "completed"]


def test_a_failing_task_tells_its_status_everywhere(desk: Desk, slurm: Slurm, busybox_there: str) -> None:
    script = "test $UDOCKER_TASK_ID = 1 && exit 3; exit 0"
    job = desk.sbatch(busybox_there, "sh", "-c", script, options=("--array=0-2",))
    assert desk.call("udocker-batch", "wait", job, timeout=300).returncode == 3
    assert slurm.wait_for_end(job)[f"{job}_1"] == "FAILED"
    lines = [line.split()[:3] for line in desk.batch("status", job).splitlines()]
    assert lines == [["0", "completed", "0"], ["1", "failed", "3"], ["2", "completed", "0"]]
    assert [record["exit_status"] for record in desk.records(job)] == [0, 3, 0]


def test_a_cancelled_job_ends_its_program_and_says_so(desk: Desk, slurm: Slurm, busybox_there: str) -> None:
    script = 'trap "echo told; exit 9" TERM; echo started; while :; do sleep 0.1; done'
    job = desk.sbatch(busybox_there, "sh", "-c", script, options=("-oout",))
    _wait_for_text(desk.directory / "out", "started")
    desk.batch("cancel", job)
    assert slurm.wait_for_end(job) == {job: "CANCELLED"}
    assert "told" in (desk.directory / "out").read_text()
    assert desk.batch("status", job).split()[:2] == ["-", "cancelled"]
    assert desk.records(job)[0]["state"] == "ended"


def _wait_for_text(path: Path, text: str) -> None:
    from tests.services.waiting import wait_until

    wait_until(lambda: path.exists() and text in path.read_text(), f"{text!r} in {path}")


def test_the_image_is_pinned_at_submission(
    desk: Desk, slurm: Slurm, cluster_registry: Registry, busybox_there: str, busybox_image: PushedImage
) -> None:
    script = desk.call(
        "udocker-sbatch", "--dry-run", "--image", busybox_there, "--", "true", check=True
    ).stdout
    assert busybox_image.digest in script
    assert script.startswith("#!/bin/sh\n")
    assert desk.user.run(["squeue", "-h", "-u", desk.user.name]).stdout == ""
    assert not desk.store.exists()


def test_what_is_wrong_at_submission_is_one_clear_line(desk: Desk, slurm: Slurm, busybox_there: str) -> None:
    sbatch, host = "udocker-sbatch", busybox_there.partition("/")[0]
    assert "Invalid job array" in desk.bad(sbatch, "--array=9-1", "--image", busybox_there, "--", "true")
    assert "no such tag" in desk.bad(sbatch, "--image", f"{host}/nosuch:1", "--", "true")
    assert "put a command after --" in desk.bad(sbatch, "--image", busybox_there, "nosuch", "x")
    assert "--image" in desk.bad(sbatch, "--array=1", "--", "true")
    assert "partition" in desk.bad(sbatch, "-p", "none", "--image", busybox_there, "--", "true")
    assert "afterok" not in desk.user.run(["squeue", "-h", "-o", "%E", "-u", desk.user.name]).stdout
    bad_array = ("--prepare=job", "--array=9-1")
    assert "Invalid job array" in desk.bad(sbatch, *bad_array, "--image", busybox_there, "--", "true")
    assert desk.user.run(["squeue", "-h", "-t", "PD,R", "-u", desk.user.name]).stdout == ""
    (desk.directory / "job.yaml").write_text(f"image: {busybox_there}\ncommnd: [true]\n")
    assert "job.yaml:2:1:" in desk.bad("udocker-batch", "submit", "job.yaml", "--scheduler", "slurm")
    assert "nosuch.yaml" in desk.bad("udocker-batch", "submit", "nosuch.yaml", "--scheduler", "local")
    for command in ("status", "wait", "cancel", "usage"):
        assert "job 99999" in desk.bad("udocker-batch", command, "99999")


def test_a_task_whose_image_cannot_be_had_fails_with_our_status(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    """The registry has the manifest at submission and a store that no node can write is found on the node."""
    job = desk.sbatch(busybox_there, "true", options=("-oout", "--hold"))
    store = desk.store
    if store.exists():
        shutil.rmtree(store)
    desk.user.run(["mkdir", "-m", "555", store], check=True)
    desk.user.run(["scontrol", "release", job], check=True)
    assert slurm.wait_for_end(job) == {job: "FAILED"}
    (row,) = (row for row in slurm.records(job, "ExitCode") if row["JobID"] == job)
    assert row["ExitCode"] == "125:0"
    assert "udocker-batch: " in (desk.directory / "out").read_text()


def test_hostile_values_arrive_byte_for_byte(desk: Desk, slurm: Slurm, busybox_there: str) -> None:
    words = ["a b", "$(touch pwned)", "`id`", "'\"\\", "new\nline", "--", "-x", "", "ünï", "*", "#SBATCH --x"]
    job = desk.sbatch(busybox_there, "printf", "<%s>", *words, options=("-oout", "-J", "we ird; $(name)"))
    assert slurm.wait_for_end(job) == {job: "COMPLETED"}
    assert (desk.directory / "out").read_text() == "".join(f"<{word}>" for word in words)
    assert not (desk.directory / "pwned").exists()


def clean_nodes(desk: Desk) -> list[str]:
    """Remove the copies on every node; those that had some."""
    script = f"{desk.programs}/udocker-batch stage clean | while read -r _; do hostname; done"
    words = ("--nodes=4", "--ntasks-per-node=1", "sh", "-c", script)
    return sorted(desk.call("/usr/bin/srun", *words, check=True).stdout.split())


def test_an_array_with_copies_on_its_nodes_pulls_once_and_unpacks_once_a_node(
    desk: Desk, slurm: Slurm, cluster_registry: Registry, debian_there: str
) -> None:
    clean_nodes(desk)
    cluster_registry.clear()
    options = ("--array=0-39", "-oout-%a", "--stage=node")
    job = desk.sbatch(debian_there, "python3", "-c", WORK, options=options)
    assert desk.call("udocker-batch", "wait", job, timeout=300).returncode == 0
    outputs = [(desk.directory / f"out-{index}").read_text() for index in range(40)]
    assert outputs == [f"task {index} 40 True\n" for index in range(40)]
    assert pulls(cluster_registry) == (1, 4)
    assert containers(desk.store) == []
    records = desk.records(job)
    made = [record["host"] for record in records if record["prepare"] in ("prepared", "staged")]
    assert sorted(made) == sorted({record["host"] for record in records})
    assert [record["prepare"] for record in records].count("prepared") == 1
    assert unfinished(desk.store) == []
    assert clean_nodes(desk) == sorted(made)
