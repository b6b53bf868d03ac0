"""Slurm's answers, as a real Slurm 22.05 printed them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udocker.api import Config, StoreError
from udocker_batch import submission
from udocker_batch.errors import InvalidJob, JobUnknown, SubmitFailed
from udocker_batch.jobspec import JobSpec
from udocker_batch.scheduler import Command, Finished, JobState
from udocker_batch.slurm.command import main
from udocker_batch.slurm.options import SBATCH
from udocker_batch.slurm.scheduler import STATES, SlurmScheduler
from udocker_batch.submission import run_command
from udocker_batch.usage import Usage

SLURM = SlurmScheduler("/opt/bin/udocker-batch")
RUNNING = """Q|17|3|PENDING||Resources
Q|17|2|RUNNING|n2|None
Q|17|1|COMPLETED|n1|None
17_1|COMPLETED|0:0|n1
17_2|RUNNING|0:0|n2
17_[3]|PENDING|0:0|None assigned
"""
ENDED = """17_1|COMPLETED|0:0|n1
17_2|FAILED|3:0|n2
17_3|CANCELLED by 1001|0:15|n3
17_4|TIMEOUT|0:0|n1
17_5|OUT_OF_MEMORY|0:125|n1
17_6|NODE_FAIL|1:0|n4
17_7|SOMETHING_NEW|0:0|n4
"""
SACCT = """17_1|COMPLETED|0:0|12|00:10.500|00:01.250||n1|2026-03-01T10:00:00|2026-03-01T10:00:12
17_1.batch|COMPLETED|0:0|12|00:10.500|00:01.250|20480K|n1|2026-03-01T10:00:00|2026-03-01T10:00:12
17_1.extern|COMPLETED|0:0|12|00:00:00|00:00.001|1.5M|n1|2026-03-01T10:00:00|2026-03-01T10:00:12
17_2|RUNNING|0:0|3|00:00:00|00:00:00||n2|2026-03-01T10:00:00|Unknown
"""


def status(stdout: str, stderr: str = "") -> list:
    return list(SLURM.parse_status("17", Finished(0, stdout, stderr)))


def test_the_queue_and_the_accounting_make_one_picture() -> None:
    tasks = status(RUNNING)
    assert [(task.index, task.state) for task in tasks] == [
        (1, JobState.COMPLETED),
        (2, JobState.RUNNING),
        (3, JobState.PENDING),
    ]
    assert (tasks[0].exit_status, tasks[1].host) == (0, "n2")


def test_a_requeued_task_is_pending_whatever_became_of_its_first_try() -> None:
    tasks = status("Q|17|1|PENDING||BeginTime\n17_1|NODE_FAIL|1:0|n4\n")
    assert [(task.state, task.exit_status) for task in tasks] == [(JobState.PENDING, None)]


def test_the_accounting_tells_how_a_task_ended_that_the_queue_still_lists() -> None:
    tasks = status("Q|17|1|FAILED|n1|NonZeroExitCode\n17_1|FAILED|3:0|n1\n")
    assert [(task.state, task.exit_status) for task in tasks] == [(JobState.FAILED, 3)]
    tasks = status("Q|17|1|FAILED|n1|NonZeroExitCode\n17_1|RUNNING|0:0|n1\n")
    assert [(task.state, task.exit_status) for task in tasks] == [(JobState.FAILED, None)]


def test_every_way_to_end_has_its_state_and_status() -> None:
    assert [(task.state.value, task.exit_status) for task in status(ENDED)] == [
        ("completed", 0),
        ("failed", 3),
        ("cancelled", 143),
        ("timeout", 0),
        ("out-of-memory", 253),
        ("node-failed", 1),
        ("unknown", None),
    ]


def test_a_preempted_task_has_ended_unless_the_queue_has_it_back() -> None:
    preempted, requeued = status("17_1|PREEMPTED|0:15|n1\nQ|17|2|PENDING||None\n17_2|PREEMPTED|0:15|n1\n")
    assert (preempted.state, preempted.state.ended) == (JobState.PREEMPTED, True)
    assert requeued.state is JobState.PENDING


def test_a_job_without_an_array_is_one_task() -> None:
    assert [task.index for task in status("Q|17|N/A|RUNNING|n1|None\n17|RUNNING|0:0|n1\n")] == [None]


def test_pending_tasks_in_brackets_are_told_one_by_one() -> None:
    assert [task.index for task in status("17_[4-6,9%2]|PENDING|0:0|None assigned\n")] == [4, 5, 6, 9]


def test_jobs_of_other_numbers_are_left_out() -> None:
    with pytest.raises(JobUnknown):
        status("18|RUNNING|0:0|n1\n")


def test_a_job_that_nobody_knows_keeps_slurms_words() -> None:
    with pytest.raises(JobUnknown, match="storage is disabled"):
        status("", "Slurm accounting storage is disabled\n")


@given(st.text(max_size=120))
def test_no_answer_makes_it_fail_in_another_way(text: str) -> None:
    try:
        status(text)
    except JobUnknown:
        pass


def test_accounting_takes_memory_from_the_largest_step() -> None:
    first, second = SLURM.parse_usage("17", Finished(0, SACCT, ""))
    assert (first.task, first.user_seconds, first.system_seconds) == (1, 10.5, 1.25)
    assert (first.wall_seconds, first.peak_memory, first.exit_status) == (12.0, 20480 * 1024, 0)
    assert (second.state, second.ended, second.peak_memory) == ("running", None, None)


@pytest.mark.parametrize(("stdout", "job"), [("17\n", "17"), ("17;cluster\n", "17"), ("note\n17\n", "17")])
def test_the_id_is_read_from_what_sbatch_prints(stdout: str, job: str) -> None:
    assert SLURM.parse_submitted(Finished(0, stdout, "")) == job


def test_a_script_reaches_sbatch_byte_by_byte() -> None:
    text = os.fsdecode(b"#!/bin/sh\n#SBATCH --comment=gr\xfc\xdf\r\n")
    done = run_command(Command(("od", "-An", "-tx1"), text))
    assert bytes.fromhex(done.stdout.replace("\n", " ")) == os.fsencode(text)
    assert run_command(Command(("cat",), "\udcff")).stdout == "\\xff"


def test_a_refusal_keeps_sbatchs_words() -> None:
    words = "sbatch: error: Batch job submission failed: Invalid job array specification\n"
    with pytest.raises(SubmitFailed, match="submit: slurm: Invalid job array specification"):
        SLURM.parse_submitted(Finished(1, "", words))


def test_of_many_lines_the_fatal_one_is_told() -> None:
    words = "sbatch: error: fetch_config: DNS\nsbatch: fatal: Could not establish a configuration source\n"
    with pytest.raises(SubmitFailed, match=r"^submit: slurm: Could not establish a config\w+ source \(see"):
        SLURM.parse_submitted(Finished(1, "", words))


def test_an_id_that_is_none_is_never_handed_to_slurm() -> None:
    for command in (SLURM.status_command, SLURM.usage_command, SLURM.cancel_command):
        with pytest.raises(JobUnknown):
            command("1; rm -rf ~")


@pytest.mark.parametrize(
    "words",
    [
        ["--array=0-3"],
        ["--array", "0-3"],
        ["--arr=0-3"],
        ["--arr", "0-3"],
        ["-a", "0-3"],
        ["-a0-3"],
        ["-Ha0-3"],
        ["-a", "9", "-a0-3"],
    ],
)
def test_an_option_is_found_in_every_form_that_sbatch_takes(words: list[str]) -> None:
    line = SBATCH.read(["-n", "2", *words, "-J", "a"])
    assert line.last("array") == "0-3"
    assert line.words({"array"}) in (("-n", "2", "-J", "a"), ("-n", "2", "-H", "-J", "a"))


def test_a_value_that_looks_like_an_option_stays_a_value() -> None:
    line = SBATCH.read(["-J", "x", "-parray"])
    assert (line.last("job-name"), line.last("array")) == ("x", None)
    assert line.words({"job-name"}) == ("-parray",)


@pytest.mark.parametrize(
    "words",
    [
        ["x.sh"],
        ["--array=0-3", "x.sh"],
        ["-n", "1", "python3", "x.py"],
        ["-n1", "-H", "x.sh"],
        ["--hold", "x.sh"],
        ["-Hn", "1", "x.sh"],
        ["--", "x.sh"],
        ["--wrap", "x"],
        ["--wrap=x"],
    ],
)
def test_a_command_that_sbatch_would_run_outside_the_image_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidJob, match="put the command after --"):
        SLURM.submit_command(JobSpec(image="x", options=tuple(words)), {"script": ""})


def test_options_with_their_values_in_words_of_their_own_are_handed_on() -> None:
    words = ("-n", "1", "--mem", "2G", "-HJ", "a", "--hold", "--nice=5", "--exclusive", "-d", "afterok:1")
    assert SLURM.submit_command(JobSpec(image="x", options=words), {"script": ""}).argv[-11:] == words


@pytest.mark.parametrize(
    ("words", "rest"),
    [
        (["-W"], ()),
        (["--wait", "-n", "1"], ("-n", "1")),
        (["-HWn", "1"], ("-H", "-n", "1")),
        (["-J", "a", "-WH"], ("-J", "a", "-H")),
    ],
)
def test_an_option_without_a_value_is_found_among_others(words: list[str], rest: tuple[str, ...]) -> None:
    line = SBATCH.read(words)
    assert (line.last("wait"), line.words({"wait"})) == ("", rest)


def test_the_value_of_another_option_is_no_flag() -> None:
    line = SBATCH.read(["-J", "-W", "-pW"])
    assert (line.last("wait"), line.words({"wait"})) == (None, ("-J", "-W", "-pW"))


def test_an_entrypoint_that_is_no_command_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--image", "x", "--entrypoint", "a 'b"]) == 125
    assert capsys.readouterr().err == 'udocker-sbatch: submit: --entrypoint "a \'b": No closing quotation\n'


def test_a_current_directory_that_was_removed_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert main(["--image", "x"]) == 125
    assert "submit: the current directory has been removed" in capsys.readouterr().err


def test_preparing_in_a_job_keeps_the_users_own_dependencies() -> None:
    job = JobSpec(image="x", options=("-d", "afterany:5", "--time=1"))
    argv = SLURM.submit_command(job, {"script": ""}, after="7").argv
    assert SBATCH.read(argv[1:]).last("dependency") == "afterany:5,afterok:7"
    with pytest.raises(InvalidJob, match="alternatives"):
        SLURM.submit_command(JobSpec(image="x", options=("-dafterany:5?afterok:6",)), {"script": ""}, "7")


def test_a_job_that_cannot_be_noted_is_cancelled(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = Config.from_environment({"UDOCKER_DIR": str(tmp_path / "file")})
    asked: list[Command] = []

    def run(command: Command) -> Finished:
        asked.append(command)
        return Finished(0, f"{len(asked)}\n", "")

    job = JobSpec(image=f"x@sha256:{'0' * 64}", prepare="job")
    with pytest.raises(StoreError):
        submission.submit(config, job, SLURM, run)
    assert [command.argv[0] for command in asked] == ["sbatch", "sbatch", "scancel", "scancel"]
    assert [command.argv[1] for command in asked[2:]] == ["2", "1"]


def test_waiting_outlives_a_controller_that_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]

    def sleep(_: float) -> None:
        clock[0] += 20.0

    monkeypatch.setattr(submission, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    answers = iter(
        ["17|RUNNING|0:0|n1", "17|RUNNING|0:0|n1", "", "17|RUNNING|0:0|n1", "", "17|COMPLETED|0:0|n1"]
    )
    config = Config.from_environment({"UDOCKER_DIR": str(tmp_path)})
    job = submission.Job(config, SLURM, "17", lambda _: Finished(0, next(answers), ""))
    assert [task.state for task in job.wait()] == [JobState.COMPLETED]


def test_a_preparing_job_is_one_task_with_output_of_its_own() -> None:
    job = JobSpec(image="x", options=("-a", "0-9", "-N4", "-n", "8", "-oout", "--partition=p"))
    assert SLURM.preparing(job) == ("--partition=p",)


def test_every_state_word_is_upper_case_and_known_states_differ_from_unknown() -> None:
    assert all(word.isupper() and state is not JobState.UNKNOWN for word, state in STATES.items())


def test_an_option_without_a_letter_is_found_by_name_only() -> None:
    line = SBATCH.read(["--ntasks-per-node=3", "-n1"])
    assert (line.last("ntasks-per-node"), line.words({"ntasks-per-node"})) == ("3", ("-n1",))


def test_an_array_that_the_accounting_tells_of_as_one_task_has_its_tasks_only(tmp_path: Path) -> None:
    config = Config.from_environment({"UDOCKER_DIR": str(tmp_path)})
    row = SACCT.splitlines()[0].replace("17_1", "17")
    job = submission.Job(config, SLURM, "17", lambda _: Finished(0, row, ""))
    assert [usage.task for usage in job.usage().usages] == [None]
    record = Usage("17", 1, 0, "n1", "", "", (), "ended", started=1.0, exit_status=0)
    job.records.write(record)
    assert [usage.task for usage in job.usage().usages] == [1]
