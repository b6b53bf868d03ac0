"""Jobs of the local scheduler: what a task finds, how it ends, and what is told about it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.local_queue import LocalQueue, until
from udocker_batch.errors import JobUnknown, SubmitFailed
from udocker_batch.local.slots import Slots, release
from udocker_batch.scheduler import Finished, JobState

# What the installed program does: -m would put the current directory in the way itself.
MAIN = "import sys; sys.path.remove(''); from udocker_batch.local.command import main; main(sys.argv[1:])"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[LocalQueue]:
    made = LocalQueue(tmp_path)
    yield made
    made.stop_everything()


def test_job_runs_and_its_output_lies_in_the_jobs_directory(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit("echo out; echo err >&2; pwd", directory=str(tmp_path))
    [task] = queue.wait(job)
    assert (task.index, task.state, task.exit_status) == (None, JobState.COMPLETED, 0)
    assert task.host == socket.gethostname()
    assert (tmp_path / f"udocker-{job}.out").read_text() == f"out\nerr\n{tmp_path}\n"


def test_cores_of_a_store_that_was_write_protected_for_a_while_can_be_taken(tmp_path: Path) -> None:
    store = tmp_path / "udocker"
    root = store / "batch/local"
    root.mkdir(parents=True)
    store.chmod(0o555)
    release(Slots(store, root).take(1) or [])
    for path in root.rglob("*"):
        assert path.stat().st_mode & 0o600 == 0o600
    assert [path.name for path in root.glob("slots/*/*")] == ["0"]


def test_exit_status_is_the_programs_own(queue: LocalQueue) -> None:
    [task] = queue.wait(queue.submit("exit 42"))
    assert (task.state, task.exit_status) == (JobState.FAILED, 42)


def test_death_by_signal_is_128_and_the_signal(queue: LocalQueue) -> None:
    [task] = queue.wait(queue.submit("kill -SEGV $$"))
    assert (task.state, task.exit_status) == (JobState.FAILED, 128 + signal.SIGSEGV)


@pytest.mark.parametrize(
    ("array", "indices"), [("1,3,5", [1, 3, 5]), ("0-999:250", [0, 250, 500, 750]), ("7", [7])]
)
def test_array_runs_each_index_once(
    queue: LocalQueue, tmp_path: Path, array: str, indices: list[int]
) -> None:
    job = queue.submit("echo $UDOCKER_TASK_ID >> ran", array=array)
    tasks = queue.wait(job)
    assert [task.index for task in tasks] == indices
    assert sorted(map(int, (tmp_path / "ran").read_text().split())) == indices
    assert all((tmp_path / f"udocker-{job}_{index}.out").exists() for index in indices)


def test_task_finds_the_variables_of_both_schedulers(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit("env > env.$SLURM_ARRAY_TASK_ID", array="2-10:4", name="a name")
    queue.wait(job)
    found = [variables(tmp_path / f"env.{index}") for index in (2, 6, 10)]
    expected = {
        "UDOCKER_SCHEDULER": "local",
        "UDOCKER_JOB_ID": job,
        "UDOCKER_ARRAY_JOB_ID": job,
        "UDOCKER_TASK_ID": "6",
        "UDOCKER_TASK_COUNT": "3",
        "UDOCKER_TASK_MIN": "2",
        "UDOCKER_TASK_MAX": "10",
        "UDOCKER_TASK_STEP": "4",
        "SLURM_ARRAY_JOB_ID": job,
        "SLURM_ARRAY_TASK_ID": "6",
        "SLURM_ARRAY_TASK_COUNT": "3",
        "SLURM_ARRAY_TASK_MIN": "2",
        "SLURM_ARRAY_TASK_MAX": "10",
        "SLURM_ARRAY_TASK_STEP": "4",
        "SLURM_JOB_NAME": "a name",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_SUBMIT_HOST": socket.gethostname(),
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_CPUS_ON_NODE": "1",
    }
    assert {name: found[1].get(name) for name in expected} == expected
    assert "SLURM_RESTART_COUNT" not in found[1]
    assert len({one["SLURM_JOB_ID"] for one in found}) == 3


def test_job_that_is_no_array_has_no_task_variables(queue: LocalQueue, tmp_path: Path) -> None:
    job = queue.submit("env > env")
    queue.wait(job)
    found = variables(tmp_path / "env")
    assert found["SLURM_JOB_ID"] == found["UDOCKER_JOB_ID"] == job
    assert not [name for name in found if "ARRAY" in name or name == "UDOCKER_TASK_ID"]


def test_task_finds_what_it_was_granted(queue: LocalQueue, tmp_path: Path) -> None:
    queue.wait(queue.submit("env > env", cpus=1, memory=(2 << 30) + 1))
    found = variables(tmp_path / "env")
    assert (found["SLURM_JOB_CPUS_PER_NODE"], found["SLURM_MEM_PER_NODE"]) == ("1", "2049")


def test_environment_is_the_submitters_without_an_outer_jobs_variables(
    queue: LocalQueue, tmp_path: Path
) -> None:
    environ = {**os.environb, b"MINE": b"\xff\xfe \n'x", b"SLURM_NODELIST": b"n[1-9]", b"PBS_JOBID": b"1"}
    environ.update({b"SLURM_RESTART_COUNT": b"1", b"SLURM_CONF": b"/c", b"UDOCKER_TASK_ID": b"9"})
    queue.wait(queue.submit("env -0 > env", environ=environ))
    found = dict(entry.split(b"=", 1) for entry in (tmp_path / "env").read_bytes().split(b"\0") if entry)
    assert found[b"MINE"] == environ[b"MINE"]
    assert found[b"SLURM_CONF"] == b"/c"
    assert found[b"SLURM_NODELIST"] == socket.gethostname().partition(".")[0].encode()
    assert not {b"PBS_JOBID", b"SLURM_RESTART_COUNT", b"UDOCKER_TASK_ID"} & set(found)


def test_submitted_environment_is_for_the_user_only(queue: LocalQueue) -> None:
    job = queue.submit("true")
    assert queue.on_disk(job).folder.stat().st_mode & 0o077 == 0


def test_output_patterns_are_sbatchs(queue: LocalQueue, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    pattern = "logs/%x-%A-%3a-%N-%%.out"
    job = queue.submit("echo out; echo err >&2", array="5", name="n", stdout=pattern, stderr="%j.err")
    queue.wait(job)
    host = socket.gethostname().partition(".")[0]
    assert (tmp_path / f"logs/n-{job}-005-{host}-%.out").read_text() == "out\n"
    [error] = tmp_path.glob("*.err")
    assert error.read_text() == "err\n"


@pytest.mark.parametrize(
    "name", ["../../evil", "/etc/x", "-n", "a b;$(touch evil)", "caf\udce9", "new\nline"]
)
def test_hostile_job_name_stays_a_plain_file_name(queue: LocalQueue, tmp_path: Path, name: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    [task] = queue.wait(queue.submit("echo ran", name=name, stdout="%x.out", directory=str(inner)))
    assert task.state is JobState.COMPLETED
    assert [path.name for path in inner.iterdir()] == [name.replace("/", "_") + ".out"]


def test_output_that_cannot_be_opened_fails_the_task_with_the_reason(
    queue: LocalQueue, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    job = queue.submit("true", array="0-1", stdout="file/%a.out")
    for task in queue.wait(job):
        assert (task.state, task.exit_status) == (JobState.FAILED, 125)
        assert "file/" in task.reason and "Not a directory" in task.reason


def test_directory_that_cannot_be_written_fails_the_task_with_the_reason(
    queue: LocalQueue,
) -> None:
    # Not even root makes files in sysfs.
    [task] = queue.wait(queue.submit("true", directory="/sys/kernel"))
    assert task.state is JobState.FAILED
    assert re.search("Permission denied|not permitted", task.reason)


def test_directory_that_does_not_exist_fails_the_task_with_the_reason(
    queue: LocalQueue, tmp_path: Path
) -> None:
    [task] = queue.wait(queue.submit("true", directory=str(tmp_path / "none"), stdout="/dev/null"))
    assert task.state is JobState.FAILED
    assert "No such file or directory" in task.reason


def test_task_over_its_time_limit_is_ended_with_all_its_processes(queue: LocalQueue, tmp_path: Path) -> None:
    script = "trap 'echo warned > warned; exit 9' TERM; setsid sleep 1000 & echo $! > pid; wait"
    [task] = queue.wait(queue.submit(script, time_limit=1))
    assert (task.state, task.exit_status) == (JobState.TIMEOUT, 9)
    assert (tmp_path / "warned").exists()
    # The watcher reaps everything before it tells the end.
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_time_limit_beyond_what_the_kernel_can_wait_is_no_limit(queue: LocalQueue) -> None:
    [task] = queue.wait(queue.submit("true", time_limit=999_999_999 * 86400))
    assert task.state is JobState.COMPLETED


def test_file_in_the_current_directory_is_not_taken_for_a_module(queue: LocalQueue, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "json.py").write_text("raise SystemExit('not this one')\n")
    command = [sys.executable, "-c", MAIN, "submit", f"--udocker-dir={tmp_path / 'udocker'}"]
    done = subprocess.run(command, input="#!/bin/sh\n", cwd=here, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_script_that_signals_its_own_group_ends_by_itself(queue: LocalQueue) -> None:
    [task] = queue.wait(queue.submit("trap : TERM; kill 0; exit 6"))
    assert (task.state, task.exit_status) == (JobState.FAILED, 6)


def test_script_without_interpreter_is_refused(queue: LocalQueue) -> None:
    command = queue.scheduler.submit_command(spec(), {"script": "echo hello\n"})
    with pytest.raises(SubmitFailed, match="no interpreter"):
        queue.scheduler.parse_submitted(queue.run(command))


def test_more_cores_than_the_machine_has_are_refused(queue: LocalQueue) -> None:
    with pytest.raises(SubmitFailed, match="this machine gives"):
        queue.submit("true", cpus=len(os.sched_getaffinity(0)) + 1)


def test_option_that_submit_does_not_know_is_refused_in_its_words(queue: LocalQueue) -> None:
    with pytest.raises(SubmitFailed, match="--partition") as raised:
        queue.submit("true", options=("--partition=long",))
    assert "\n" not in raised.value.message


def test_unknown_job_is_job_unknown(queue: LocalQueue) -> None:
    with pytest.raises(JobUnknown, match="77"):
        queue.status("77")
    with pytest.raises(JobUnknown):
        queue.submit("true", after="77")


@pytest.mark.parametrize("job", ["../1", "-1", "x", ""])
def test_job_id_that_is_no_number_is_refused(queue: LocalQueue, job: str) -> None:
    assert queue.run(queue.scheduler.status_command(job)).status != 0


def test_queue_that_cannot_be_written_is_one_clear_error(queue: LocalQueue, tmp_path: Path) -> None:
    (tmp_path / "udocker").write_text("a file in the way")
    finished = queue.run(queue.scheduler.submit_command(spec(), {"script": "#!/bin/sh\n"}))
    assert finished.status == 125
    assert finished.stderr.count("\n") == 1
    assert "Not a directory" in finished.stderr and "UDOCKER_DIR" in finished.stderr


def test_full_disk_at_submission_is_one_clear_error_and_leaves_no_job(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("mounting a small file system needs root")
    script = (
        'mount -t tmpfs -o size=64k none "$1" && mkdir -p "$1/u" && head -c 1000000 /dev/zero > "$1/fill"; '
        'printf "#!/bin/sh\\n" | "$2" -m udocker_batch.local submit --udocker-dir "$1/u"; echo "status $?"; '
        'find "$1/u" -name job.json'
    )
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(tmp_path), sys.executable]
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this host allows no mount namespaces (needs CAP_SYS_ADMIN)")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "status 125\n"
    assert "No space left on device" in done.stderr


def test_job_ids_are_never_given_twice(queue: LocalQueue, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from udocker_batch.local.queue import Queue\n"
        "queue = Queue(Path(sys.argv[1]))\n"
        "print(*[queue.new_id() for _ in range(100)], sep='\\n')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "udocker")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    numbers = [line for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert len(numbers) == len(set(numbers)) == 400


def test_store_of_a_group_gives_the_group_numbers_and_cores_but_no_jobs(queue: LocalQueue) -> None:
    store = queue.folder / "udocker"
    store.mkdir()
    store.chmod(0o2770)
    before = os.umask(0o022)
    try:
        job = queue.submit("true")
        queue.wait(job)
    finally:
        os.umask(before)
    local = store / "batch/local"
    for folder in (local.parent, local, local / "ids", local / "jobs", *(local / "slots").iterdir()):
        assert folder.stat().st_mode & 0o7777 == 0o2770
    for core in (local / "slots").glob("*/*"):
        assert core.stat().st_mode & 0o777 == 0o660
    assert (local / "jobs" / job).stat().st_mode & 0o777 == 0o700


def test_answer_with_an_unknown_state_is_unknown(queue: LocalQueue) -> None:
    task = '{"index": 1, "state": "odd", "exit_status": null, "host": "h", "reason": ""}'
    finished = Finished(0, '{"tasks": [' + task + "]}", "")
    assert queue.scheduler.parse_status("1", finished)[0].state is JobState.UNKNOWN


def test_script_of_the_template_hands_the_task_on_unchanged(queue: LocalQueue, tmp_path: Path) -> None:
    from udocker_batch.local.scheduler import LocalScheduler

    hook = tmp_path / "a hook's"
    hook.write_text('#!/bin/sh\nprintf "%s %s" "$1" "$UDOCKER_BATCH_TASK" > got\n')
    hook.chmod(0o755)
    payload = '{"command": ["it\'s", "$HOME `x`"]}'
    script = LocalScheduler(str(hook), tmp_path).files(spec(), payload)["script"]
    queue.wait(queue.submit(script))
    assert (tmp_path / "got").read_text() == f"task {payload}"


def test_damaged_file_of_the_queue_is_one_clear_error(queue: LocalQueue) -> None:
    job = queue.submit("true")
    queue.wait(job)
    path = queue.on_disk(job).folder / "tasks/job.ended"
    whole = path.read_text()
    path.write_text(whole[:5])
    finished = queue.run(queue.scheduler.status_command(job))
    path.write_text(whole)
    assert finished.status == 125
    assert f"{path}: damaged" in finished.stderr and finished.stderr.count("\n") == 1


def test_nothing_is_left_running_after_a_job(queue: LocalQueue) -> None:
    job = queue.submit("true")
    queue.wait(job)
    supervisor = queue.on_disk(job).supervisor
    assert supervisor is not None
    until("the supervisor's end", lambda: not supervisor.is_alive())


def variables(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def spec():  # type: ignore[no-untyped-def]
    from udocker_batch.jobspec import JobSpec

    return JobSpec("debian:12")
