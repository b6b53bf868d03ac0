"""How tasks end on Slurm: by signals, limits, preemption, requeues and nodes that die, in every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.commands import unfinished
from tests.real.desk import Desk, make_desk
from tests.services.cluster import Slurm
from tests.services.registry import Registry
from tests.services.sharing import session_directory
from tests.services.users import User
from tests.services.waiting import wait_until

MODES = ("R1", "T2", "T1", "P2", "P1")
# Tells which signals it gets; ends on TERM. The sleeping child must not outlive it.
PROGRAM = """trap 'echo usr1' USR1; trap 'echo term; exit 7' TERM; echo started $UDOCKER_TASK_ATTEMPT
while :; do sleep 0.1; done"""


def wait_for_text(path: Path, text: str, timeout: float = 60) -> None:
    wait_until(lambda: path.exists() and text in path.read_text(), f"{text!r} in {path}", timeout)


def processes(job: str) -> list[str]:
    """What a job runs, on whatever node: all are on this machine."""
    marks = {f"{name}={job}".encode() for name in ("UDOCKER_JOB_ID", "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID")}
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if marks & set(environ.read_bytes().split(b"\0")):
                found.append(environ.with_name("cmdline").read_text(errors="replace"))
        except OSError:
            pass  # it has ended just now
    return found


def assert_nothing_is_left(desk: Desk, *jobs: str) -> None:
    for job in jobs:
        wait_until(lambda job=job: processes(job) == [], f"end of what job {job} runs", 30)
    assert unfinished(desk.store) == []


def prepare(desk: Desk, image: str) -> None:
    desk.call("udocker-batch", "prepare", image, check=True)


@pytest.fixture(scope="module")
def outliving(
    user2: User, udocker_bin: Path, slurm: Slurm, cluster_registry: Registry, busybox_there: str
) -> Iterator[tuple[Desk, dict[str, str]]]:
    """Jobs in every engine that ignore that their time is over, running while the other tests do.

    Each has a child in a session of its own, too.
    """
    with session_directory("outliving", mode=0o1777) as directory:
        desk = make_desk(user2, udocker_bin, directory / "two", directory / "two" / "store", cluster_registry)
        prepare(desk, busybox_there)
        text = "trap 'echo term' TERM; setsid sleep 6000 & echo started; while :; do sleep 0.1; done"
        jobs = {}
        for mode in MODES[:4]:  # as many as the node has processors
            options = ("--time=1", "-wnode1", f"--exec-mode={mode}", f"-oout-{mode}")
            jobs[mode] = desk.sbatch(busybox_there, "sh", "-c", text, options=options)
        yield desk, jobs


@pytest.mark.usefixtures("outliving")
def test_signals_of_the_batch_system_reach_the_program_in_every_engine(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    prepare(desk, busybox_there)
    jobs = {}
    for mode in MODES:
        # One minute, and a signal 50 to 65 seconds before its end: at once.
        options = (f"--exec-mode={mode}", f"-oout-{mode}", "--time=1", "--signal=B:USR1@50")
        jobs[mode] = desk.sbatch(busybox_there, "sh", "-c", PROGRAM, options=options)
    for mode in MODES:
        wait_for_text(desk.directory / f"out-{mode}", "started 0\n")
    assert all(processes(job) for job in jobs.values())
    for mode in MODES:
        wait_for_text(desk.directory / f"out-{mode}", "usr1")
        desk.user.run(["scancel", jobs[mode]], check=True)
    for mode, job in jobs.items():
        assert slurm.wait_for_end(job) == {job: "CANCELLED"}
        lines = (desk.directory / f"out-{mode}").read_text().splitlines()
        assert [line for line in lines if line in ("usr1", "term")][-1:] == ["term"], (mode, lines)
        (record,) = desk.records(job)
        assert (record["state"], record["exit_status"]) == ("ended", 7)
    assert_nothing_is_left(desk, *jobs.values())


@pytest.mark.parametrize("how", ["requeue", "preempt"])
def test_a_task_that_is_requeued_is_told_and_starts_clean(
    desk: Desk, slurm: Slurm, busybox_there: str, how: str
) -> None:
    prepare(desk, busybox_there)
    options = ("-plow", "-wnode4", "--cpus-per-task=4", "-oout", "--open-mode=append", "--requeue")
    job = desk.sbatch(busybox_there, "sh", "-c", PROGRAM, options=options)
    out = desk.directory / "out"
    wait_for_text(out, "started 0\n")
    if how == "requeue":
        desk.user.run(["scontrol", "requeue", job], check=True)
    else:
        urgent = ("-phigh", "-wnode4", "--cpus-per-task=4", "-o/dev/null")
        first = desk.sbatch(busybox_there, "true", options=urgent)
        assert slurm.wait_for_end(first) == {first: "COMPLETED"}
    wait_for_text(out, "term")
    wait_for_start(desk, job, lambda: "started 1\n" in out.read_text())
    desk.batch("cancel", job)
    slurm.wait_for_end(job)
    records = {record["attempt"]: record for record in desk.records(job)}
    assert {attempt: record["state"] for attempt, record in records.items()} == {0: "ended", 1: "ended"}
    assert_nothing_is_left(desk, job)


def wait_for_start(desk: Desk, job: str, started: Callable[[], bool]) -> None:
    """Slurm lets a requeued job wait for two minutes, which its user can shorten once it is pending."""

    told: set[str] = set()

    def looked() -> bool:
        for task in set(pending(desk, job).split()) - told:
            # Not at once: within one second slurmd takes the first try's credential for the second's.
            words = ["scontrol", "update", f"jobid={task}", "starttime=now+3seconds"]
            if desk.user.run(words).returncode == 0:
                told.add(task)
        return started()

    wait_until(looked, f"start of job {job}", 90, every=0.5)


def pending(desk: Desk, job: str) -> str:
    return desk.user.run(["squeue", "-h", "-r", "-t", "PD", "-o", "%i", "-j", job]).stdout.strip()


def test_an_array_outlives_a_node_and_the_controller_that_die(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    """The node dies under running tasks; they run again elsewhere, from the beginning."""
    prepare(desk, busybox_there)
    text = "echo try $UDOCKER_TASK_ATTEMPT; until test -e go; do sleep 0.2; done"
    options = ("--array=0-5", "--cpus-per-task=2", "--exclude=node1", "-oout-%a", "--open-mode=append")
    mount = ("--mount", f"{desk.directory}:/work", "--workdir=/work")
    job = desk.sbatch(busybox_there, "sh", "-c", text, options=(*options, *mount))
    wait_until(lambda: len(list(desk.directory.glob("out-*"))) == 6, "six tasks", 60)
    victim = next(record["host"] for record in running(desk, job))
    lost = [record["task"] for record in running(desk, job) if record["host"] == victim]
    slurm.kill_node(victim)
    try:
        slurm.restart_controller()
        (desk.directory / "go").touch()
        again = [desk.directory / f"out-{task}" for task in lost]
        wait_for_start(desk, job, lambda: all("try 1" in path.read_text() for path in again))
        assert desk.call("udocker-batch", "wait", "-q", job, timeout=200).returncode == 0
        for task in range(6):
            tries = (desk.directory / f"out-{task}").read_text().splitlines()
            assert tries == (["try 0", "try 1"] if task in lost else ["try 0"])
        assert {(record["task"], record["attempt"]) for record in desk.records(job)} == {
            *((task, 0) for task in range(6)),
            *((task, 1) for task in lost),
        }
    finally:
        slurm.revive_node(victim)
    assert_nothing_is_left(desk, job)


def running(desk: Desk, job: str) -> list[dict[str, Any]]:
    def all_there() -> list[dict[str, Any]]:
        records = desk.records(job)
        return records if len(records) == 6 else []

    return wait_until(all_there, "six records", 60)


def test_a_program_that_outlives_its_time_is_told_and_killed_and_leaves_nothing(
    slurm: Slurm, outliving: tuple[Desk, dict[str, str]]
) -> None:
    desk, jobs = outliving
    for mode, job in jobs.items():
        assert slurm.wait_for_end(job, timeout=180) == {job: "TIMEOUT"}
        assert "term" in (desk.directory / f"out-{mode}").read_text().splitlines()
        (line,) = desk.batch("status", job).splitlines()
        assert line.split()[:2] == ["-", "timeout"]
    assert_nothing_is_left(desk, *jobs.values())
