"""Usage records on disk, and the reports made from them."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from udocker.api import StoreError
from udocker_batch.accounting.records import JobRecords
from udocker_batch.accounting.report import (
    efficiency,
    human_bytes,
    human_seconds,
    usage_csv,
    usage_json,
    usage_table,
)
from udocker_batch.errors import InvalidJob
from udocker_batch.identity import Identity
from udocker_batch.submission import read_job
from udocker_batch.usage import Usage

DEAD_PID = 2**22 + 1  # above the kernel's largest pid


def usage(task: int | None = None, attempt: int = 0, **changes: object) -> Usage:
    made = Usage(
        job="17",
        task=task,
        attempt=attempt,
        host=socket.gethostname(),
        image="debian:12",
        digest="sha256:" + "0" * 64,
        command=("true",),
        state="ended",
        started=1000.0,
        ended=1010.0,
        exit_status=0,
        wall_seconds=10.0,
        user_seconds=7.5,
        system_seconds=0.5,
        peak_memory=3 << 20,
        read_bytes=100,
        written_bytes=2048,
        scheduler="slurm",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def rendered(records: list[Usage], tasks: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(usage_table(records, tasks=tasks))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_written_record_is_read_back(tmp_path: Path) -> None:
    records = JobRecords(tmp_path, "slurm", "17")
    path = records.write(usage(3, 1))
    assert path == tmp_path / "batch/jobs/slurm-17/tasks/3.1.json"
    assert records.read().usages == (usage(3, 1),)


def test_first_record_leaves_directories_that_the_stores_group_can_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    before = os.umask(0o022)
    try:
        tasks = JobRecords(tmp_path, "slurm", "17").write(usage(3)).parent
    finally:
        os.umask(before)
    for folder in (tasks, tasks.parent, tasks.parent.parent, tmp_path / "batch"):
        assert folder.stat().st_mode & 0o7777 == 0o2770


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"tasks": "x"}', "\xff"])
def test_damaged_note_of_what_was_submitted_is_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(StoreError, match="job.json: damaged"):
        read_job(tmp_path)


def test_job_without_a_record_has_none(tmp_path: Path) -> None:
    assert JobRecords(tmp_path, "slurm", "17").read().usages == ()


def test_read_gives_the_latest_attempt_of_each_task_in_order(tmp_path: Path) -> None:
    records = JobRecords(tmp_path, "slurm", "17")
    for task, attempt in ((10, 0), (2, 0), (2, 10), (2, 9), (1, 0)):
        records.write(usage(task, attempt))
    assert [(u.task, u.attempt) for u in records.read().usages] == [(1, 0), (2, 10), (10, 0)]
    assert [(u.task, u.attempt) for u in records.read_all().usages] == [
        (1, 0),
        (2, 0),
        (2, 9),
        (2, 10),
        (10, 0),
    ]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"job": "17"}', "\x00", '{"started": NaN}', '{"extra": 5}', "[" * 100_000]
)
def test_unreadable_record_is_reported_and_the_others_are_read(tmp_path: Path, text: str) -> None:
    records = JobRecords(tmp_path, "slurm", "17")
    path = records.write(usage(1))
    records.write(usage(2))
    path.write_text(text)
    found = records.read()
    assert [u.task for u in found.usages] == [2]
    assert len(found.problems) == 1
    assert str(path) in found.problems[0]


@pytest.mark.parametrize(
    "field",
    [
        {"started": None},
        {"wall_seconds": "x"},
        {"wall_seconds": float("nan")},
        {"wall_seconds": float("inf")},
        {"wall_seconds": 10**400},
        {"host": 3},
        {"host": "\ud800"},
        {"task": "../1"},
        {"command": [1]},
        {"command": 1},
    ],
)
def test_record_with_a_field_of_a_wrong_type_is_reported(tmp_path: Path, field: dict[str, object]) -> None:
    records = JobRecords(tmp_path, "slurm", "17")
    path = records.write(usage(1))
    path.write_text(json.dumps({**json.loads(path.read_text()), **field}))
    assert len(records.read().problems) == 1


@pytest.mark.parametrize("job", ["", ".", "..", "../x", "a/b", "/etc", "1\0", "1\n", "x" * 300, "-1"])
def test_job_id_that_could_leave_the_directory_is_refused(tmp_path: Path, job: str) -> None:
    with pytest.raises(InvalidJob):
        JobRecords(tmp_path, "slurm", job)


@pytest.mark.parametrize("scheduler", ["", "..", "../x", "a/b", "Slurm", "a-b"])
def test_scheduler_that_could_leave_the_directory_is_refused(tmp_path: Path, scheduler: str) -> None:
    with pytest.raises(InvalidJob):
        JobRecords(tmp_path, scheduler, "1")


@pytest.mark.parametrize("job", ["17", "17[].head.example.org", "17.0", "17+1", "8123[3].srv"])
def test_job_ids_of_real_batch_systems_are_accepted(tmp_path: Path, job: str) -> None:
    JobRecords(tmp_path, "pbs", job).write(usage(job=job))
    assert len(JobRecords(tmp_path, "pbs", job).read().usages) == 1


def test_temporary_files_are_ignored_and_those_of_dead_writers_removed(tmp_path: Path) -> None:
    records = JobRecords(tmp_path, "slurm", "17")
    folder = records.write(usage(1)).parent
    here = socket.gethostname()
    dead = folder / f".2.0.json.tmp-{here}-{DEAD_PID}-0123abcd"
    living = folder / f".2.0.json.tmp-{here}-{os.getpid()}-0123abcd"
    elsewhere = folder / f".2.0.json.tmp-{here}x-{DEAD_PID}-0123abcd"
    for path in (dead, living, elsewhere):
        path.write_text("{")
    found = records.read()
    assert [u.task for u in found.usages] == [1]
    assert found.problems == ()
    assert [path.exists() for path in (dead, living, elsewhere)] == [False, True, True]


def test_directory_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "batch").write_text("a file in the way")
    with pytest.raises(StoreError, match="write usage record: .*/17|Not a directory"):
        JobRecords(tmp_path, "slurm", "17").write(usage())


def test_full_disk_is_one_clear_error_and_leaves_the_old_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = JobRecords(tmp_path, "slurm", "17")
    path = records.write(usage(1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left"):
        records.write(usage(1, exit_status=9))
    assert [entry.name for entry in path.parent.iterdir()] == ["1.0.json"]
    assert records.read().usages == (usage(1),)


def test_running_record_of_a_living_process_is_running(tmp_path: Path) -> None:
    records = JobRecords(tmp_path, "slurm", "17")
    records.write(usage(state="running", pid=os.getpid()))
    assert records.read().usages[0].state == "running"


def test_running_record_of_a_dead_process_is_lost(tmp_path: Path) -> None:
    records = JobRecords(tmp_path, "slurm", "17")
    program = subprocess.Popen(["sleep", "1000"])
    records.write(usage(state="running", pid=program.pid))
    program.kill()
    program.wait()
    assert records.read().usages[0].state == "lost"


@pytest.mark.parametrize("change", [{"start": 1}, {"boot": "another"}])
def test_running_record_whose_pid_is_another_process_now_is_lost(
    tmp_path: Path, change: dict[str, object]
) -> None:
    records = JobRecords(tmp_path, "slurm", "17")
    process = {**Identity.of(os.getpid()).to_mapping(), **change}
    records.write(usage(state="running", pid=os.getpid(), extra={"process": process}))
    assert records.read().usages[0].state == "lost"


def test_running_record_of_another_host_stays_running(tmp_path: Path) -> None:
    records = JobRecords(tmp_path, "slurm", "17")
    process = {**Identity.of(os.getpid()).to_mapping(), "host": "elsewhere", "pid": DEAD_PID}
    records.write(usage(state="running", pid=DEAD_PID, host="elsewhere", extra={"process": process}))
    assert records.read().usages[0].state == "running"


def test_kill_9_of_the_hook_leaves_a_record_that_reads_as_lost(tmp_path: Path) -> None:
    hook = f"""
import os, socket, sys, time
from pathlib import Path
from udocker_batch.accounting.records import JobRecords
from udocker_batch.accounting.sampler import measure
from udocker_batch.usage import Usage
def started(pid):
    JobRecords(Path({str(tmp_path)!r}), "slurm", "17").write(Usage("17", None, 0, socket.gethostname(),
        "debian:12", "", ("sleep",), "running", time.time(), pid=os.getpid()))
    print(pid, flush=True)
measure(["sleep", "1000"], dict(os.environ), None, on_start=started)
"""
    process = subprocess.Popen([sys.executable, "-c", hook], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    program = int(process.stdout.readline())
    records = JobRecords(tmp_path, "slurm", "17")
    assert [u.state for u in records.read().usages] == ["running"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    os.kill(program, signal.SIGKILL)
    path = tmp_path / "batch/jobs/slurm-17/tasks/job.0.json"
    assert json.loads(path.read_text())["state"] == "running"
    assert [u.state for u in records.read().usages] == ["lost"]


def test_many_writers_of_one_record_leave_one_whole_record(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_accounting_records import usage
from udocker_batch.accounting.records import JobRecords
for _ in range(50):
    JobRecords(Path({str(tmp_path)!r}), "slurm", "17").write(usage(1, extra={{"x": "y" * 5000}}))
"""
    writers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    records = JobRecords(tmp_path, "slurm", "17")
    deadline = time.monotonic() + 60
    while any(writer.poll() is None for writer in writers) and time.monotonic() < deadline:
        assert records.read().problems == ()
    assert [writer.wait() for writer in writers] == [0] * 4
    assert len(records.read().usages) == 1


def test_table_shows_each_task_and_the_totals() -> None:
    text = rendered([usage(0), usage(1, exit_status=3, wall_seconds=100.0, user_seconds=None)])
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│")}
    assert (
        "completed" in rows["0"]
        and "10.00 s" in rows["0"]
        and "80 %" in rows["0"]
        and "3.00 MiB" in rows["0"]
    )
    assert "failed 3" in rows["1"] and "0:01:40" in rows["1"]
    assert "max 0:01:40, sum 0:01:50" in rows["total"]
    assert "1 failed" in rows["total"]


def test_table_in_a_narrow_terminal_loses_no_figure() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(usage_table([usage(0, host="node-with-a-long-name")]))
    text = out.getvalue()
    assert "…" not in text
    for figure in ("10.00", "7.50", "0.50", "3.00", "2.00"):
        assert figure in text


def test_footer_tells_what_has_no_record_no_end_or_is_lost() -> None:
    text = rendered([usage(0), usage(1, state="running"), usage(2, state="lost")], tasks=5)
    assert "2 tasks: no record" in text
    assert "1 task: unfinished" in text
    assert "1 task: lost" in text


def test_footer_is_empty_when_all_tasks_ended() -> None:
    assert "task:" not in rendered([usage(0)], tasks=1)


def test_table_shows_hostile_text_as_text() -> None:
    text = rendered([usage(host="[red]x\x1b[2J[/nonsense]")])
    assert "[red]x?[2J[/nonsense]" in text
    assert "\x1b[2J" not in text


def test_efficiency_counts_the_cores_that_the_task_had() -> None:
    assert efficiency([usage()]) == 0.8
    assert efficiency([usage(extra={"cpus": 4})]) == 0.2
    assert efficiency([usage(wall_seconds=None)]) is None


def test_json_holds_totals_and_every_field() -> None:
    document = json.loads(usage_json([usage(0), usage(1)], tasks=3))
    assert document["totals"]["user_seconds"] == 15.0
    assert document["totals"]["tasks"] == 3
    assert document["tasks"][1]["digest"] == usage().digest


def test_csv_has_a_line_a_task() -> None:
    rows = list(csv.DictReader(io.StringIO(usage_csv([usage(0, command=("a b", 'c"d'))]))))
    assert rows[0]["task"] == "0"
    assert json.loads(rows[0]["command"]) == ["a b", 'c"d']


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (3 << 20, "3.00 MiB"),
        (5 << 40, "5.00 TiB"),
    ],
)
def test_bytes_are_humanised(value: float | None, text: str) -> None:
    assert human_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0.5, "0.50 s"), (59.99, "59.99 s"), (61, "0:01:01"), (90061.4, "1-01:01:01")],
)
def test_seconds_are_humanised(value: float | None, text: str) -> None:
    assert human_seconds(value) == text
