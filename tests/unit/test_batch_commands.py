"""The command lines of udocker-batch: what is mistyped, and several jobs at once."""

from __future__ import annotations

import pytest

from udocker_batch.cli import main


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
