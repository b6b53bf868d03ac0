"""What is refused at submission, because each task would tell it otherwise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.services.faulty_registry import FaultyRegistry
from tests.services.images import ImageBuilder, directory
from udocker.api import Config, UsageError, create_container, ensure_image, prepared_container, resolve
from udocker_batch import submission
from udocker_batch.cli import main
from udocker_batch.jobspec import ArraySpec, JobSpec
from udocker_batch.local.scheduler import LocalScheduler
from udocker_batch.scheduler import Command, Finished
from udocker_batch.slurm.scheduler import SlurmScheduler

SLURM = SlurmScheduler("/opt/bin/udocker-batch")
PINNED = f"x@sha256:{'0' * 64}"


def accepted(_: Command) -> Finished:
    return Finished(0, "17\n", "")


def refused(command: Command) -> Finished:
    raise AssertionError(f"submitted: {command}")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.from_environment({"UDOCKER_DIR": str(tmp_path / "store")})


@pytest.fixture
def silent(registry: FaultyRegistry) -> str:
    """An image in a registry that does not say what to run."""
    builder = ImageBuilder()
    registry.add(builder, "team/silent", "1", builder.image([builder.layer([directory("etc")])]))
    return f"{registry.host}/team/silent:1"


@pytest.mark.parametrize(
    ("mode", "cause"), [("F3", "F3: known, but"), ("f3", "F3: known"), ("R9", "'R9': unk")]
)
def test_a_mode_without_an_engine_is_refused_with_those_that_there_are(
    config: Config, mode: str, cause: str
) -> None:
    job = JobSpec(image=PINNED, command=("true",), mode=mode)
    with pytest.raises(UsageError, match=f"^submit: execution mode:? {cause}") as raised:
        submission.submit(config, job, SLURM, refused)
    assert "T2, R1, T1, P1, P2" in raised.value.hint
    assert "F4" not in raised.value.hint
    assert submission.plan_task(config, replace(job, mode="t2")).mode == "t2"


def test_an_image_of_the_store_that_does_not_say_what_to_run_needs_a_command(
    config: Config, silent: str
) -> None:
    job = JobSpec(image=silent)
    pinned = resolve(config, silent)
    assert submission.plan_task(config, job).image == pinned  # nobody knows yet
    ensure_image(config, pinned)
    with pytest.raises(UsageError, match=f"^submit: {pinned}: no command given, and the image has none"):
        submission.submit(config, job, SLURM, refused)
    assert submission.plan_task(config, replace(job, command=("a",))).command == ("a",)
    assert submission.plan_task(config, replace(job, entrypoint=("a",))).entrypoint == ("a",)
    assert submission.plan_task(config, replace(job, script="#!/bin/sh\n")).command[0] == "/bin/sh"


def test_an_image_that_is_prepared_at_submission_needs_a_command(config: Config, silent: str) -> None:
    with pytest.raises(UsageError, match="no command given"):
        submission.submit(config, JobSpec(image=silent, prepare="submit"), SLURM, refused)


def test_without_entry_point_and_command_no_image_runs(config: Config) -> None:
    with pytest.raises(UsageError, match=f"^submit: {PINNED}: no command given"):
        submission.plan_job(config, JobSpec(image=PINNED, entrypoint=()), SLURM)


def test_a_container_that_does_not_say_what_to_run_needs_a_command(config: Config, silent: str) -> None:
    pinned = resolve(config, silent)
    container = prepared_container(config, pinned)
    create_container(config, pinned, container, "work")
    with pytest.raises(UsageError, match=f"^submit: {container}: no command given"):
        submission.plan_job(config, JobSpec(container=container), SLURM)
    assert submission.plan_task(config, JobSpec(container=container, command=("a",))).container == container


def test_the_list_of_jobs_has_the_images_as_their_users_call_them(
    config: Config, silent: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UDOCKER_DIR", config.udocker_dir)
    submission.submit(config, JobSpec(image=silent, command=("a",), directory="/"), SLURM, accepted)
    assert main(["status"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert f" {silent} " in line
    assert "sha256:" not in line


@pytest.mark.parametrize(
    ("scheduler", "options", "tasks"),
    [
        ("slurm", ("--array=0-9",), 10),
        ("slurm", ("--arr=0-9",), 10),
        ("slurm", ("-Ha", "0-9"), 10),
        ("slurm", ("--arr=0-9", "--array", "1,3"), 2),
        ("slurm", ("--array=x",), 1),
        ("slurm", ("-n1",), 4),
        ("local", ("--array=0-9",), 10),
        ("local", ("--array", "0-9", "--array=1,3"), 2),
        ("local", (), 4),
    ],
)
def test_an_array_that_is_asked_for_by_the_batch_systems_own_option_is_counted(
    config: Config, scheduler: str, options: tuple[str, ...], tasks: int
) -> None:
    back_end = SLURM if scheduler == "slurm" else LocalScheduler("p", Path(config.udocker_dir))
    job = JobSpec(image=PINNED, command=("a",), array=ArraySpec.parse("0-3"), options=options, directory="/")
    assert submission.submit(config, job, back_end, accepted).tasks() == tasks
