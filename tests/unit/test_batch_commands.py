"""The command lines of udocker-batch: what is mistyped, and several jobs at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.local_queue import LocalQueue
from tests.unit.test_accounting_records import usage
from udocker_batch.accounting.records import JobRecords
from udocker_batch.cli import main


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalQueue]:
    """The local scheduler of the store that the environment names."""
    made = LocalQueue(tmp_path)
    monkeypatch.setenv("UDOCKER_DIR", str(tmp_path / "udocker"))
    yield made
    made.stop_everything()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            "submit job.yaml --schduler slurm",
            "submit: --schduler: unknown option\n  hint: did you mean --scheduler?",
        ),
        ("submit --schduler=slurm", "submit: --schduler: unknown option\n  hint: did you mean --scheduler?"),
        ("status --zzz", "status: --zzz: unknown option\n  hint: see udocker-batch status --help"),
        ("--schduler slurm submit", "did you mean udocker-batch COMMAND --scheduler?"),
        ("--scheduler slurm submit", "did you mean udocker-batch COMMAND --scheduler?"),
        ("--verison", "did you mean --version?"),
        ("stauts 7", "'stauts': unknown command\n  hint: did you mean udocker-batch status?"),
        ("zzz", "'zzz': unknown command\n  hint: see udocker-batch --help"),
        (
            "hooks instal slurm",
            "hooks: 'instal': unknown command\n  hint: did you mean udocker-batch hooks install?",
        ),
    ],
)
def test_what_is_mistyped_is_told_before_what_is_missing(
    words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 125
    error = capsys.readouterr().err
    assert error.startswith("udocker-batch: ")
    assert told in error
    assert len(error.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["submit"], "the following arguments are required: JOB.YAML, --scheduler"),
        (["submit", "--option", "--x=1"], "argument --option: expected one argument"),
        (["submit", "--scheduler=local", "--option", "--x=a b", "nosuch"], "job file: nosuch: No such file"),
        (["submit", "--scheduler=local", "--", "--schduler"], "job file: --schduler: No such file"),
    ],
)
def test_a_word_that_is_no_option_is_not_taken_for_one(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 125
    assert told in capsys.readouterr().err


def test_cancel_takes_several_jobs_and_one_that_fails_does_not_keep_the_others(
    queue: LocalQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = queue.submit("sleep 600"), queue.submit("sleep 600")
    assert main(["cancel", "--scheduler=local", first, "9001", last]) == 125
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if line.startswith("udocker-batch: ")] == told[:1]
    assert told[0].startswith("udocker-batch: local job 9001: no such job")
    for job in (first, last):
        assert [task.state.value for task in queue.wait(job)] == ["cancelled"]
    assert main(["cancel", "--scheduler=local", first, last]) == 0


def test_status_of_several_jobs_has_their_ids_above(
    queue: LocalQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    single, array = queue.submit("exit 3"), queue.submit("true", array="4-5")
    for job in (single, array):
        queue.wait(job)
    assert main(["status", "--scheduler=local", single, "9001", array]) == 125
    told = capsys.readouterr()
    shown = [" ".join(line.split()[:2]) for line in told.out.splitlines()]
    assert shown == ["==> job", "- failed", "", "==> job", "4 completed", "5 completed"]
    assert [line for line in told.out.splitlines() if "==>" in line] == [
        f"==> job {single} <==",
        f"==> job {array} <==",
    ]
    assert "local job 9001: no such job" in told.err
    assert main(["status", "--scheduler=local", single]) == 0
    assert "==>" not in capsys.readouterr().out


def test_logs_of_several_jobs_have_their_ids_above(
    queue: LocalQueue, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "udocker"
    for job, task in (("17", None), ("18", 0), ("18", 1)):
        path = tmp_path / f"{job}-{task}"
        path.write_text(f"of {path.name}\n")
        JobRecords(store, "local", job).write(usage(task, extra={"stdout": str(path)}))
    assert main(["logs", "17"]) == 0
    assert capfd.readouterr().out == "of 17-None\n"
    assert main(["logs", "17", "9001", "18"]) == 125
    told = capfd.readouterr()
    assert told.out == (
        "==> job 17 <==\nof 17-None\n\n==> job 18 task 0 <==\nof 18-0\n\n==> job 18 task 1 <==\nof 18-1\n"
    )
    assert "job 9001: not known" in told.err
    assert main(["logs", "-f", "17", "18"]) == 125
    assert "--follow: 2 jobs" in capfd.readouterr().err
