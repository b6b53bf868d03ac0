"""What is told of jobs: doubts at submission, why tasks failed, which jobs there are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.test_accounting_records import usage
from udocker.config import Config
from udocker_batch.accounting.records import JobRecords
from udocker_batch.accounting.report import outcome
from udocker_batch.cli import main
from udocker_batch.doubts import doubts
from udocker_batch.jobspec import JobSpec
from udocker_batch.local.scheduler import LocalScheduler
from udocker_batch.scheduler import Command, Finished
from udocker_batch.slurm.scheduler import SlurmScheduler
from udocker_batch.submission import Job


def test_what_this_machine_lacks_is_doubted(tmp_path: Path) -> None:
    job = JobSpec(image="i", directory=str(tmp_path), mounts=("/nosuch:/x:ro", "here:/y", "/tmp:/z"))
    (tmp_path / "here").touch()
    found = list(doubts(job, {"stdout": "out/%a.txt", "stderr": "%a/err"}))
    assert [line.partition(" ")[0] for line in found] == ["mount", "stdout:"]
    assert "/nosuch" in found[0]
    assert f"{tmp_path}/out " in found[1]
    (tmp_path / "out").mkdir()
    assert len(list(doubts(job, {"stdout": "out/%a.txt", "stderr": ""}))) == 1


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


@pytest.mark.parametrize("asked", [0, 1])
def test_usage_has_the_batch_systems_word_for_a_task_that_was_ended(tmp_path: Path, asked: int) -> None:
    states = ["timeout", "cancelled", "completed"]
    tasks = [
        {"index": index, "state": state, "exit_status": 143, "host": "", "reason": ""}
        for index, state in enumerate(states)
    ]
    answers = [Finished(0, json.dumps({"tasks": tasks}), ""), Finished(1, "", "no such job")]
    records = JobRecords(tmp_path, "local", "17")
    for index, status in enumerate((143, 143, 0)):
        records.write(usage(index, exit_status=status))
    job = Job(Config(str(tmp_path)), LocalScheduler("p", tmp_path), "17", lambda _: answers[asked])
    told = [outcome(one) for one in job.usage().usages]
    assert told == [states, ["failed", "failed", "completed"]][asked]


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
