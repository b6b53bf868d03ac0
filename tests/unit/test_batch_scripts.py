"""Job scripts: hostile values arrive byte for byte and never become shell code."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from udocker.config import Config
from udocker_batch.environment import allocated_cores, passed_variables
from udocker_batch.errors import InvalidJob
from udocker_batch.jobspec import ArraySpec, JobSpec
from udocker_batch.local.scheduler import LocalScheduler
from udocker_batch.render import TemplateError, quote, render, template_directory
from udocker_batch.slurm.scheduler import SlurmScheduler
from udocker_batch.taskspec import TaskSpec

# Any bytes but NUL, as Python holds them in arguments and environment.
WORDS = st.binary(max_size=40).filter(lambda data: b"\0" not in data).map(os.fsdecode)
CONFIG = Config.from_environment(
    {"UDOCKER_DIR": "/store", "UDOCKER_INSECURE_REGISTRIES": "a:1,b", "UDOCKER_LOWER": "/site/store"}
)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=8))
def test_quoted_values_reach_a_program_byte_for_byte(words: list[str]) -> None:
    script = "printf '%s\\0' x " + " ".join(quote(word) for word in words)
    received = subprocess.run(["sh", "-c", os.fsencode(script)], capture_output=True, check=True).stdout
    assert received.split(b"\0")[1:-1] == [os.fsencode(word) for word in words]


def test_a_value_with_nul_is_refused() -> None:
    with pytest.raises(TemplateError):
        quote("a\0b")


def test_every_value_of_every_template_passes_the_filter() -> None:
    templates = [path for path in template_directory().iterdir() if path.suffix == ".sh"]
    assert len(templates) >= 2
    for path in templates:
        text = path.read_text()
        values = re.findall(r"\{\{(.*?)\}\}", text)
        assert values
        assert all(re.fullmatch(r"\s*\w+ \| q\s*", value) for value in values), path
        assert "{%" not in text, path


def test_a_missing_value_is_an_error_not_an_empty_word() -> None:
    with pytest.raises(TemplateError):
        render("local.sh", program="x")


@pytest.mark.parametrize("scheduler", ["slurm", "local"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(command=st.lists(WORDS, min_size=1, max_size=4), value=WORDS, name=WORDS)
def test_a_task_receives_what_the_job_said(
    tmp_path: Path, scheduler: str, command: list[str], value: str, name: str
) -> None:
    """The script is run by sh; the program it calls keeps the description it was given."""
    program = tmp_path / "pro'gram $(x)"
    program.write_text('#!/bin/sh\nprintf %s "$UDOCKER_BATCH_TASK" > "$RECEIVED"\n')
    program.chmod(0o755)
    job = JobSpec(image="x@sha256:" + "a" * 64, command=tuple(command), env=(("V", value),), name=name)
    back_end = (
        SlurmScheduler(str(program)) if scheduler == "slurm" else LocalScheduler(str(program), tmp_path)
    )
    task = TaskSpec.of(job, CONFIG)
    (script,) = back_end.files(job, task.to_json()).values()
    received = tmp_path / "received"
    subprocess.run(["sh"], input=script.encode("ascii"), env={"RECEIVED": str(received)}, check=True)
    assert TaskSpec.from_json(received.read_text()) == task


def test_outside_arrays_a_container_has_no_variables_of_tasks() -> None:
    environ = {"UDOCKER_TASK_ID": "", "UDOCKER_TASK_ATTEMPT": "0", "SLURM_JOB_ID": "1", "HOME": "/x"}
    assert passed_variables(environ) == (("SLURM_JOB_ID", "1"), ("UDOCKER_TASK_ATTEMPT", "0"))


@pytest.mark.parametrize(("text", "cores"), [("4", 4), ("", None), ("0", None), ("x", None), ("4,2", None)])
def test_cores_of_a_task_are_what_the_batch_system_says(text: str, cores: int | None) -> None:
    assert allocated_cores({"SLURM_CPUS_ON_NODE": text}) == cores


def test_a_task_keeps_the_submitters_settings() -> None:
    task = TaskSpec.of(JobSpec(image="x"), CONFIG)
    config = TaskSpec.from_json(task.to_json()).config(Config.from_environment({"HOME": "/none"}))
    assert config.udocker_dir == "/store"
    assert config.insecure_registries == {"a:1", "b"}
    assert config.lower == ("/site/store",)


def test_a_description_that_no_program_can_be_handed_is_refused_at_submission() -> None:
    with pytest.raises(InvalidJob, match="more than"):
        TaskSpec.of(JobSpec(image="x", command=("y" * 131_072,)), CONFIG).to_json()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"image": 1}', '{"command": null, "env": 3}'])
def test_a_damaged_description_is_one_clear_error(text: str) -> None:
    with pytest.raises(InvalidJob, match="task: "):
        TaskSpec.from_json(text)


def test_slurm_is_asked_with_the_jobs_own_values_before_those_handed_through() -> None:
    job = JobSpec(
        image="x",
        name="n\nm",
        array=ArraySpec.parse("0-3%2"),
        directory="/d",
        memory=(1 << 30) + 1,
        time_limit=61,
        cpus=2,
        options=("--time=5", "-J", "other"),
    )
    command = SlurmScheduler("/bin/true").submit_command(job, {"script": "#!/bin/sh\n"})
    assert command.argv == (
        "sbatch",
        "--parsable",
        "--job-name=n\nm",
        "--array=0-3%2",
        "--chdir=/d",
        "--cpus-per-task=2",
        "--mem=1025M",
        "--time=2",
        "--time=5",
        "-J",
        "other",
    )
    assert command.stdin == "#!/bin/sh\n"


def test_the_description_is_ascii_and_one_line_whatever_it_holds() -> None:
    text = TaskSpec.of(JobSpec(image="x", command=("\n", "\udcff", "ü")), CONFIG).to_json()
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text)["command"] == ["\n", "\udcff", "ü"]
