"""udocker-srun before it becomes srun: whether Slurm answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from udocker_batch.slurm.srun import command
from udocker_batch.slurm.srun.command import main

IMAGE = f"--image=x@sha256:{'0' * 64}"
UP, DOWN = "Slurmctld(primary) at n0 is UP", "Slurmctld(primary) at n0 is DOWN\n****\n** RESTORE **"
BACKUP = "Slurmctld(backup) at n1 is DOWN"
NO_CONFIG = "scontrol: error: fetch_config: DNS\nscontrol: fatal: Could not establish a configuration source"


class Programs:
    """Slurm's programs in the place of real ones."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        for name in ("SLURM_JOB_ID", "SLURM_JOBID", "SLURM_CLUSTERS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
        monkeypatch.setenv("UDOCKER_DIR", str(directory / "store"))
        self.write("srun", "echo srun; exit 7")

    def write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def answers(self, *answers: tuple[str, str, int]) -> None:
        """scontrol prints, complains and ends in these ways, one after the other; the last one stays."""
        for number, (out, error, status) in enumerate(answers):
            (self.directory / f"out{number}").write_text(out)
            (self.directory / f"err{number}").write_text(error)
            (self.directory / f"status{number}").write_text(str(status))
        self.write(
            "scontrol",
            f"""cd {self.directory}; echo "$*" >>asked; n=$(($(wc -l <asked) - 1))
            [ -e out$n ] || n={len(answers) - 1}; cat out$n; cat err$n >&2; exit $(cat status$n)""",
        )

    def asked(self) -> list[str]:
        path = self.directory / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def srun(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "udocker_batch.slurm.srun.command", *words, IMAGE, "true"],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    def become(*_: object) -> None:
        raise AssertionError("became srun")

    monkeypatch.setattr(command, "_become", become)
    return Programs(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        ((DOWN, "", 1), "Slurmctld(primary) at n0 is DOWN"),
        ((f"{DOWN}\n{BACKUP}", "", 1), f"Slurmctld(primary) at n0 is DOWN; {BACKUP}"),
        (("", NO_CONFIG, 1), "Could not establish a configuration source"),
    ],
)
def test_a_slurm_that_does_not_answer_is_one_clear_line(
    programs: Programs,
    answer: tuple[str, str, int],
    cause: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "_PATIENCE", 0.0)
    programs.answers(answer)
    assert main([IMAGE, "true"]) == 125
    hint = "sinfo tells whether Slurm answers here"
    assert capsys.readouterr().err == f"udocker-srun: run: slurm: {cause}\n  hint: {hint}\n"


def test_a_controller_that_is_started_anew_is_waited_for(programs: Programs) -> None:
    programs.answers((DOWN, "", 1), (f"{BACKUP}\n{UP}", "", 0))
    done = programs.srun()
    assert (done.returncode, done.stdout, done.stderr) == (7, "srun\n", "")
    assert programs.asked() == ["ping", "ping"]


@pytest.mark.parametrize(
    ("words", "environ"),
    [
        ((), {"SLURM_JOB_ID": "7"}),
        (("--jobid=7",), {}),
        (("-M", "other"), {}),
        ((), {"SLURM_CLUSTERS": "other"}),
        (("-Z",), {}),
        (("--version",), {}),
    ],
)
def test_a_step_of_an_allocation_and_another_cluster_are_left_to_srun(
    programs: Programs, words: tuple[str, ...], environ: dict[str, str]
) -> None:
    programs.answers((DOWN, "", 1))
    assert programs.srun(*words, **environ).returncode == 7
    assert programs.asked() == []


def test_without_scontrol_srun_tells_itself(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(programs.directory))
    assert programs.srun().returncode == 7


def test_without_srun_that_is_told(programs: Programs) -> None:
    (programs.directory / "srun").unlink()
    done = programs.srun(PATH=str(programs.directory))
    assert done.returncode == 125
    assert done.stderr == "udocker-srun: srun: not found on this machine\n  hint: go to a submit host\n"
