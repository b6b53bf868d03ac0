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
        for mode in MODES:
            node = "-wnode2" if mode == "P1" else "-wnode1"  # which has four processors
            options = ("--time=1", node, f"--exec-mode={mode}", f"-oout-{mode}")
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


def place_of(mode: str) -> str:
    """A node for a job of each engine, two nodes for all."""
    return "node4" if mode in ("P1", "P2") else "node3"


def start_in_every_engine(desk: Desk, image: str, *options: str) -> dict[str, str]:
    """A job for each mode that tells its tries and signals in ``out-MODE``; runs when this returns."""
    jobs = {}
    for mode in MODES:
        own = (f"-w{place_of(mode)}", f"-oout-{mode}", "--open-mode=append", f"--exec-mode={mode}")
        jobs[mode] = desk.sbatch(image, "sh", "-c", PROGRAM, options=(*own, *options))
    for mode in MODES:
        wait_for_text(desk.directory / f"out-{mode}", "started 0\n")
    return jobs


def wait_for_try(desk: Desk, jobs: dict[str, str], number: int) -> None:
    outs = [desk.directory / f"out-{mode}" for mode in jobs]
    text = f"started {number}\n"
    wait_for_start(desk, ",".join(jobs.values()), lambda: all(text in out.read_text() for out in outs))


def test_tasks_that_are_requeued_or_preempted_are_told_and_start_clean_in_every_engine(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    prepare(desk, busybox_there)
    jobs = start_in_every_engine(desk, busybox_there, "-plow", "--requeue")
    desk.user.run(["scontrol", "requeue", ",".join(jobs.values())], check=True)
    wait_for_try(desk, jobs, 1)
    urgent = ("-phigh", "--cpus-per-task=4", "-o/dev/null")
    first = [
        desk.sbatch(busybox_there, "true", options=(*urgent, f"-w{node}")) for node in ("node3", "node4")
    ]
    for job in first:
        assert slurm.wait_for_end(job) == {job: "COMPLETED"}
    wait_for_try(desk, jobs, 2)
    desk.user.run(["scancel", *jobs.values()], check=True)
    for mode, job in jobs.items():
        slurm.wait_for_end(job)
        assert told_by(desk, mode) == ["started 0", "term", "started 1", "term", "started 2", "term"]
        records = {record["attempt"]: record["state"] for record in desk.records(job)}
        assert records == {0: "ended", 1: "ended", 2: "ended"}, mode
    assert_nothing_is_left(desk, *jobs.values())


def told_by(desk: Desk, mode: str) -> list[str]:
    lines = (desk.directory / f"out-{mode}").read_text().splitlines()
    return [line for line in lines if line == "term" or line.startswith("started ")]


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


def test_an_array_and_jobs_of_every_engine_outlive_nodes_and_the_controller_that_die(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    """Nodes die under running tasks; they run again, from the beginning."""
    prepare(desk, busybox_there)
    jobs = start_in_every_engine(desk, busybox_there)
    text = "echo try $UDOCKER_TASK_ATTEMPT; until test -e go; do sleep 0.2; done"
    options = ("--array=0-5", "--exclude=node1", "-oout-%a", "--open-mode=append")
    mount = ("--mount", f"{desk.directory}:/work", "--workdir=/work")
    job = desk.sbatch(busybox_there, "sh", "-c", text, options=(*options, *mount))
    victims = ("node3", "node4")
    lost = [record["task"] for record in running(desk, job) if record["host"] in victims]
    assert 0 < len(lost) < 6
    for node in victims:
        slurm.kill_node(node)
    try:
        slurm.restart_controller()
        (desk.directory / "go").touch()
        for node in victims:
            slurm.wait_for_node(node, "DOWN", 90)
    finally:
        for node in victims:
            slurm.revive_node(node)
    again = [desk.directory / f"out-{task}" for task in lost]
    everything = ",".join((job, *jobs.values()))
    wait_for_start(desk, everything, lambda: all("try 1" in path.read_text() for path in again))
    wait_for_try(desk, jobs, 1)
    assert desk.call("udocker-batch", "wait", "-q", job, timeout=200).returncode == 0
    for task in range(6):
        tries = (desk.directory / f"out-{task}").read_text().splitlines()
        assert tries == (["try 0", "try 1"] if task in lost else ["try 0"])
    assert {(record["task"], record["attempt"]) for record in desk.records(job)} == {
        *((task, 0) for task in range(6)),
        *((task, 1) for task in lost),
    }
    desk.user.run(["scancel", *jobs.values()], check=True)
    for mode, one in jobs.items():
        slurm.wait_for_end(one)
        assert told_by(desk, mode) == ["started 0", "started 1", "term"], mode
        assert sorted(record["attempt"] for record in desk.records(one)) == [0, 1]
    assert_nothing_is_left(desk, job, *jobs.values())


def test_an_array_outlives_a_controller_that_is_killed_in_its_midst(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    """Once it had saved what it knew: every task runs once, and is recorded once."""
    prepare(desk, busybox_there)
    text = "echo try $UDOCKER_TASK_ATTEMPT; until test -e go; do sleep 0.2; done"
    options = ("--array=0-11%6", "-oout-%a", "--open-mode=append")
    mount = ("--mount", f"{desk.directory}:/work", "--workdir=/work")
    job = desk.sbatch(busybox_there, "sh", "-c", text, options=(*options, *mount))
    running(desk, job)
    slurm.kill_controller(job)
    (desk.directory / "go").touch()
    assert desk.call("udocker-batch", "wait", "-q", job, timeout=200).returncode == 0
    records = sorted((record["task"], record["attempt"], record["state"]) for record in desk.records(job))
    assert records == [(task, 0, "ended") for task in range(12)]
    for task in range(12):
        assert (desk.directory / f"out-{task}").read_text() == "try 0\n"
    assert len(desk.batch("status", job).splitlines()) == 12
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
