"""What is told of jobs: doubts at submission, why tasks failed, which jobs there are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.test_accounting_records import usage
from udocker.config import Config
from udocker_batch.accounting.records import JobRecords
from udocker_batch.accounting.report import outcome, usage_json
from udocker_batch.cli import main
from udocker_batch.doubts import doubts
from udocker_batch.errors import JobUnknown
from udocker_batch.jobspec import JobSpec
from udocker_batch.local.scheduler import LocalScheduler
from udocker_batch.scheduler import Command, Finished
from udocker_batch.slurm.scheduler import SlurmScheduler
from udocker_batch.submission import Job, scheduler_of


def test_what_this_machine_lacks_is_doubted(tmp_path: Path) -> None:
    job = JobSpec(image="i", directory=str(tmp_path), mounts=("/nosuch:/x:ro", "here:/y", "/tmp:/z"))
    (tmp_path / "here").touch()
    found = list(doubts(job, {"stdout": "out/%a.txt", "stderr": "%a/err"}))
    assert [line.partition(" ")[0] for line in found] == ["mount", "stdout:"]
    assert "/nosuch" in found[0]
    assert f"{tmp_path}/out " in found[1]
    (tmp_path / "out").mkdir()
    assert len(list(doubts(job, {"stdout": "out/%a.txt", "stderr": ""}))) == 1
    [found_nowhere] = doubts(JobSpec(image="i", directory="/nosuch"), {})
    assert found_nowhere.startswith("directory: /nosuch is not on this machine")


@pytest.mark.parametrize("options", [("-oa/%j", "--error=b"), ("--output", "a/%j", "-e", "b")])
def test_sbatchs_own_options_name_the_output(options: tuple[str, ...]) -> None:
    job = JobSpec(image="i", stdout="mine", options=options)
    assert SlurmScheduler("p").outputs(job) == {"stdout": "a/%j", "stderr": "b"}
    assert SlurmScheduler("p").outputs(replace(job, options=())) == {"stdout": "mine", "stderr": ""}


def test_status_tells_why_a_task_did_not_start(tmp_path: Path) -> None:
    rows = [f"17_{task}|FAILED|{status}:0|node1" for task, status in enumerate((125, 125, 125, 1))]

    def answer(_: Command) -> Finished:
        return Finished(0, "\n".join(rows), "")

    records = JobRecords(tmp_path, "slurm", "17")
    (tmp_path / "err").write_text("a program\nudocker: run: /x: No such file\n  hint: give another\n")
    records.write(usage(0, exit_status=125, extra={"error": "pull: refused"}))
    records.write(usage(1, exit_status=125, extra={"stderr": str(tmp_path / "err")}))
    records.write(usage(2, exit_status=125, extra={"stderr": str(tmp_path / "gone")}))
    records.write(usage(3, exit_status=1, extra={"error": "not ours"}))
    tasks = Job(Config(str(tmp_path)), SlurmScheduler("p"), "17", answer).status()
    assert [task.reason for task in tasks] == ["pull: refused", "udocker: run: /x: No such file", "", ""]
    assert [task.exit_status for task in tasks] == [125, 125, 125, 1]


# What a batch system says of a task, the exit status in its record, and what is told of both.
ENDS = (
    ("timeout", 143, "timeout"),
    ("cancelled", 0, "cancelled"),
    ("completed", 0, "completed"),
    ("failed", 3, "failed"),
    ("timeout", None, "timeout"),  # left as running by a task that was killed with its hook
)


def local_job(directory: Path, answer: Finished) -> Job:
    records = JobRecords(directory, "local", "17")
    for index, (_, status, _) in enumerate(ENDS):
        state = "running" if status is None else "ended"
        records.write(usage(index, exit_status=status, state=state))
    return Job(Config(str(directory)), LocalScheduler("p", directory), "17", lambda _: answer)


def test_usage_has_the_words_of_status(tmp_path: Path) -> None:
    states = [*(word for word, _, _ in ENDS), "failed"]
    tasks = [
        {"index": index, "state": state, "exit_status": 125, "host": "n", "reason": ""}
        for index, state in enumerate(states)
    ]
    found = local_job(tmp_path, Finished(0, json.dumps({"tasks": tasks}), "")).usage().usages
    assert [outcome(one) for one in found] == [*(word for _, _, word in ENDS), "failed"]
    assert (found[-1].host, found[-1].exit_status) == ("n", 125)  # it did not start, and has no record
    document = json.loads(usage_json(found))
    assert [task["outcome"] for task in document["tasks"]] == [outcome(one) for one in found]
    assert document["totals"]["failed"] == 4


def test_usage_of_a_job_that_the_batch_system_has_forgotten_is_that_of_its_records(tmp_path: Path) -> None:
    found = local_job(tmp_path, Finished(1, "", "no such job")).usage().usages
    assert [outcome(one) for one in found] == ["failed", "completed", "completed", "failed", "running"]


def test_usage_without_an_answer_is_that_of_the_records_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = local_job(tmp_path, Finished(1, "", "Input/output error")).usage().usages
    assert len(found) == len(ENDS)
    assert "Input/output error" in caplog.text


def test_a_job_that_cannot_be_cancelled_is_told_of_once(tmp_path: Path) -> None:
    words = "udocker-batch local: local job 17: no such job below /d"
    with pytest.raises(JobUnknown, match="^local job 17: no such job below /d") as refused:
        local_job(tmp_path, Finished(125, "", words)).cancel()
    assert "status lists" in refused.value.hint
    job = Job(
        Config(str(tmp_path)), SlurmScheduler("p"), "17", lambda _: Finished(1, "", "scancel: error: a\nb\n")
    )
    with pytest.raises(JobUnknown, match="^cancel: slurm job 17: a; b"):
        job.cancel()


def test_a_task_of_an_array_is_no_job(tmp_path: Path) -> None:
    JobRecords(tmp_path, "slurm", "43").write(usage(7))
    with pytest.raises(JobUnknown, match="job 43_7: a task of job 43") as refused:
        scheduler_of(tmp_path, "43_7", ("slurm", "local"))
    assert "logs --task=7 43" in refused.value.hint
    with pytest.raises(JobUnknown, match="job 44_7: not known"):
        scheduler_of(tmp_path, "44_7", ("slurm", "local"))


def test_status_without_a_job_lists_those_that_were_submitted_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UDOCKER_DIR", str(tmp_path))
    assert main(["status"]) == 0
    assert capsys.readouterr().out == ""
    for job, submitted in (("9000001", 2e9), ("9000002", 1e9)):
        directory = tmp_path / "batch/jobs" / f"slurm-{job}"
        directory.mkdir(parents=True)
        spec = {"name": "n", "image": "busybox@sha256:0"}
        document = {"id": job, "scheduler": "slurm", "submitted": submitted, "tasks": 1, "spec": spec}
        (directory / "job.json").write_text(json.dumps(document))
    (tmp_path / "batch/jobs/slurm-9000003").mkdir()
    assert main(["status"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("9000002  slurm  2001-09-")
    assert second.split()[0] == "9000001"
    assert second.endswith("busybox@sha256:0  forgotten by the batch system")
    assert main(["status", "--scheduler=local"]) == 0
    assert capsys.readouterr().out == ""


def test_a_record_has_the_words_of_status() -> None:
    assert outcome(usage(0)) == "completed"
    assert outcome(usage(0, exit_status=3)) == "failed"
    assert outcome(usage(0, exit_status=3, extra={"scheduler_state": "timeout"})) == "timeout"
    assert outcome(usage(0, state="running", exit_status=None)) == "running"
