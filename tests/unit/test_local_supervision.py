"""The local scheduler's supervisors: limits, dependencies, cancelling, and being killed at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.local_queue import LocalQueue, until
from udocker_batch.identity import Identity
from udocker_batch.scheduler import JobState

CORES = len(os.sched_getaffinity(0))

# Notes how many tasks were inside at the same time, by directories that only exist while they are.
CROWD = """
mkdir -p inside; mkdir inside/$UDOCKER_JOB_ID.$UDOCKER_TASK_ID
for _ in 1 2 3 4 5 6 7 8 9 10; do ls inside | wc -l; sleep 0.02; done >> crowd.$UDOCKER_JOB_ID
rmdir inside/$UDOCKER_JOB_ID.$UDOCKER_TASK_ID
"""

# Runs until the test lets it go on.
GATED = """
echo $$ > up.$UDOCKER_TASK_ID.new; mv up.$UDOCKER_TASK_ID.new up.$UDOCKER_TASK_ID
echo "$UDOCKER_TASK_ID" >> ran
while [ ! -e gate ]; do sleep 0.05; done
exit ${UDOCKER_TASK_ID:-0}
"""


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[LocalQueue]:
    made = LocalQueue(tmp_path)
    yield made
    (tmp_path / "gate").touch()
    made.stop_everything()


def ran(folder: Path) -> list[str]:
    return sorted((folder / "ran").read_text().split())


def crowd(folder: Path) -> int:
    return max(int(line) for file in folder.glob("crowd.*") for line in file.read_text().split())


def kill_and_wait(pid: int) -> None:
    identity = Identity.of(pid)
    os.kill(pid, signal.SIGKILL)
    until(f"the end of {pid}", lambda: not identity.is_alive())


def test_limit_of_an_array_is_obeyed(queue: LocalQueue, tmp_path: Path) -> None:
    queue.wait(queue.submit(CROWD, array="0-5%1"))
    assert crowd(tmp_path) == 1


def test_two_jobs_share_the_cores(queue: LocalQueue, tmp_path: Path) -> None:
    jobs = [queue.submit(CROWD, array=f"0-{2 * CORES}") for _ in range(2)]
    for job in jobs:
        assert {task.state for task in queue.wait(job)} == {JobState.COMPLETED}
    assert crowd(tmp_path) <= CORES


def test_task_of_all_cores_runs_alone(queue: LocalQueue, tmp_path: Path) -> None:
    queue.wait(queue.submit(CROWD, array="0-2", cpus=CORES))
    assert crowd(tmp_path) == 1


def test_dependent_job_starts_when_the_other_has_succeeded(queue: LocalQueue, tmp_path: Path) -> None:
    first = queue.submit(GATED)
    second = queue.submit("cat gate > seen", after=first)
    until("the first job", (tmp_path / "up.").exists)
    assert queue.states(second) == ["pending"]
    (tmp_path / "gate").touch()
    [task] = queue.wait(second)
    assert task.state is JobState.COMPLETED
    assert (tmp_path / "seen").exists()


def test_dependent_job_is_cancelled_with_the_reason_when_the_other_failed(queue: LocalQueue) -> None:
    first = queue.submit("exit $UDOCKER_TASK_ID", array="0-1")
    second = queue.submit("touch started", array="0-1", after=first)
    for task in queue.wait(second):
        assert task.state is JobState.CANCELLED
        assert f"job {first} did not succeed" in task.reason
    assert not (queue.folder / "started").exists()


def test_dependency_whose_supervisor_was_killed_still_completes(queue: LocalQueue, tmp_path: Path) -> None:
    first = queue.submit(GATED)
    second = queue.submit("true", after=first)
    until("the first job", (tmp_path / "up.").exists)
    kill_and_wait(queue.supervisor(first))
    (tmp_path / "gate").touch()
    # Nobody asks for the first job: the second one's supervisor has to see to it.
    assert [task.state for task in queue.wait(second)] == [JobState.COMPLETED]


def test_cancelled_job_reports_cancelled_and_runs_nothing_more(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit(GATED, array="1-9%1")
    until("the first task", (tmp_path / "up.1").exists)
    queue.cancel(job)
    tasks = queue.wait(job)
    assert {task.state for task in tasks} == {JobState.CANCELLED}
    assert tasks[0].exit_status == 128 + signal.SIGTERM
    assert ran(tmp_path) == ["1"]
    queue.cancel(job)
    assert queue.status(job) == tasks


def test_cancelling_a_finished_job_changes_nothing(queue: LocalQueue) -> None:
    job = queue.submit("exit 3")
    before = queue.wait(job)
    queue.cancel(job)
    assert queue.status(job) == before


def test_cancelled_task_may_clean_up(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit("trap 'echo > cleaned; exit 4' TERM; echo > up; while :; do sleep 0.05; done")
    until("the task", (tmp_path / "up").exists)
    queue.cancel(job)
    [task] = queue.wait(job)
    assert (task.state, task.exit_status) == (JobState.CANCELLED, 4)
    assert (tmp_path / "cleaned").exists()


def test_cancelled_task_that_ignores_term_is_killed(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit("trap '' TERM; echo > up; while :; do sleep 0.05; done")
    until("the task", (tmp_path / "up").exists)
    queue.cancel(job)
    [task] = queue.wait(job)
    assert (task.state, task.exit_status) == (JobState.CANCELLED, 128 + signal.SIGKILL)


def test_killed_supervisor_loses_nothing_and_runs_nothing_twice(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit(GATED, array="1-6%1")
    until("the first task", (tmp_path / "up.1").exists)
    killed = queue.supervisor(job)
    kill_and_wait(killed)
    assert queue.states(job) == ["running"] + ["pending"] * 5
    assert queue.supervisor(job) != killed
    (tmp_path / "gate").touch()
    assert [task.exit_status for task in queue.wait(job)] == [1, 2, 3, 4, 5, 6]
    assert ran(tmp_path) == ["1", "2", "3", "4", "5", "6"]


def test_task_that_ends_while_no_supervisor_lives_keeps_its_result(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit(GATED, array="7")
    until("the task", (tmp_path / "up.7").exists)
    watcher = Identity.of(queue.watcher(job, 7))
    kill_and_wait(queue.supervisor(job))
    (tmp_path / "gate").touch()
    until("the task's end", lambda: not watcher.is_alive())
    [task] = queue.status(job)
    assert (task.state, task.exit_status) == (JobState.FAILED, 7)


def test_supervisor_killed_again_and_again_runs_each_task_once(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit("echo $UDOCKER_TASK_ID >> ran; sleep 0.05", array="10-39")
    for _ in range(8):
        identity = queue.on_disk(job).supervisor
        assert identity is not None
        identity.signal(signal.SIGKILL)
        queue.status(job)
    assert {task.state for task in queue.wait(job)} == {JobState.COMPLETED}
    assert ran(tmp_path) == [str(number) for number in range(10, 40)]


def test_adopted_task_still_uses_its_core_and_the_limit(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit(GATED, array="1-3", cpus=CORES)
    until("the first task", (tmp_path / "up.1").exists)
    kill_and_wait(queue.supervisor(job))
    assert queue.states(job) == ["running", "pending", "pending"]
    other = queue.submit("true", cpus=CORES)
    assert queue.states(other) == ["pending"]
    (tmp_path / "gate").touch()
    queue.wait(job)
    assert [task.state for task in queue.wait(other)] == [JobState.COMPLETED]


def test_cancel_after_the_supervisor_was_killed(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit(GATED, array="1-3%1")
    until("the first task", (tmp_path / "up.1").exists)
    kill_and_wait(queue.supervisor(job))
    queue.cancel(job)
    assert {task.state for task in queue.wait(job)} == {JobState.CANCELLED}
    assert ran(tmp_path) == ["1"]


def test_task_whose_watcher_was_killed_is_lost_and_ended(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit(GATED, array="1-2%1")
    until("the first task", (tmp_path / "up.1").exists)
    script = Identity.of(int((tmp_path / "up.1").read_text()))
    kill_and_wait(queue.watcher(job, 1))
    assert queue.states(job)[0] == "lost"
    until("the script's end", lambda: not script.is_alive())
    (tmp_path / "gate").touch()
    assert [task.state for task in queue.wait(job)] == [JobState.LOST, JobState.FAILED]


def test_everything_killed_is_lost_and_the_rest_of_the_array_runs(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit(GATED, array="1-3%1")
    until("the first task", (tmp_path / "up.1").exists)
    script = Identity.of(int((tmp_path / "up.1").read_text()))
    supervisor, watcher = queue.supervisor(job), queue.watcher(job, 1)
    for pid in (supervisor, watcher):
        kill_and_wait(pid)
    until("the new supervisor's clearing up", lambda: queue.states(job)[0] == "lost")
    until("the script's end", lambda: not script.is_alive())
    (tmp_path / "gate").touch()
    tasks = queue.wait(job)
    assert [task.state for task in tasks] == [JobState.LOST, JobState.FAILED, JobState.FAILED]
    assert tasks[0].exit_status is None
    assert ran(tmp_path) == ["1", "2", "3"]


def test_after_a_reboot_running_tasks_are_lost_and_pending_ones_run(
    queue: LocalQueue, tmp_path: Path
) -> None:
    job = queue.submit(GATED, array="1-2%1")
    until("the first task", (tmp_path / "up.1").exists)
    watcher = queue.watcher(job, 1)
    folder = queue.on_disk(job).folder
    kill_and_wait(queue.supervisor(job))
    # As if both had been of an earlier boot; the task's pid is in use, by itself, as it may be by another.
    for path, change in ((folder / "tasks/1.started", "process"), (folder / "supervisor.json", None)):
        document = json.loads(path.read_text())
        (document[change] if change else document)["boot"] = "an earlier boot"
        path.write_text(json.dumps(document))
    assert queue.states(job)[0] == "lost"
    assert Identity.of(watcher).is_alive(), "a process of this boot is none of that job's"
    (tmp_path / "gate").touch()
    assert [task.state for task in queue.wait(job)] == [JobState.LOST, JobState.FAILED]


def test_job_of_another_host_is_unknown_and_left_alone(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit(GATED, array="1-2%1")
    until("the first task", (tmp_path / "up.1").exists)
    folder = queue.on_disk(job).folder
    before = {path: path.read_text() for path in (folder / "job.json", folder / "tasks/1.started")}
    for path in before:
        document = json.loads(path.read_text())
        document.get("process", document)["host" if "process" in document else "submit_host"] = "elsewhere"
        path.write_text(json.dumps(document))
    for task in queue.status(job):
        assert (task.state, task.host) == (JobState.UNKNOWN, "elsewhere")
        assert "only elsewhere can tell" in task.reason
    for path, text in before.items():
        path.write_text(text)


def test_result_that_finds_the_disk_full_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from udocker_batch.local import task as watcher
    from udocker_batch.local.queue import Ended, Queue, Submission

    job = Queue(tmp_path).submit(Submission("n", "/", "/", "h", {}), "#!/bin/sh\n")
    real, calls = type(job).end, []

    def full_at_first(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) < 3:
            raise OSError(28, "No space left on device")
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(job), "end", full_at_first)
    monkeypatch.setattr(watcher, "_WRITE_PAUSE", 0.0)
    watcher._record(job, None, Ended(JobState.COMPLETED, 0))
    assert len(calls) == 3
    assert job.ended(None) == Ended(JobState.COMPLETED, 0)


def test_second_supervisor_leaves_at_once(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit(GATED)
    until("the task", (tmp_path / "up.").exists)
    supervisor = queue.supervisor(job)
    command = queue.scheduler.status_command(job)
    argv = tuple("supervise" if word == "status" else word for word in command.argv)
    assert queue.run(type(command)(argv)).status == 0
    assert queue.supervisor(job) == supervisor


def test_supervisor_leaves_when_its_job_is_removed(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit("sleep 0.5", array="1-40%1")
    supervisor = Identity.of(queue.supervisor(job))
    folder = queue.on_disk(job).folder
    folder.rename(tmp_path / "removed")
    until("the supervisor's end", lambda: not supervisor.is_alive())


def test_watcher_that_comes_late_to_a_cancelled_job_runs_nothing(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit(GATED, array="1-2%1")
    until("the first task", (tmp_path / "up.1").exists)
    kill_and_wait(queue.supervisor(job))
    queue.on_disk(job).cancel()
    # The watcher that the killed supervisor might just have forked for the second task.
    code = (
        "import sys; from pathlib import Path; from udocker_batch.local import queue, task\n"
        "found = queue.Queue(Path(sys.argv[1])).job(int(sys.argv[2]))\n"
        "sys.exit(task.watch(found, 2, 99))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "udocker"), job]
    assert subprocess.run(command, check=False).returncode == 0
    assert {task.state for task in queue.wait(job)} == {JobState.CANCELLED}
    assert ran(tmp_path) == ["1"]
