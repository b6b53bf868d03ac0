"""`make demo`, as a user runs it: with the embedded scheduler, and on Slurm."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.cluster import Slurm
from tests.services.installation import CHECKOUT
from tests.services.needs import need_command
from tests.services.sharing import session_directory
from tests.services.users import User

QUICK = ["--tasks", "6", "--samples", "2000000"]


@pytest.fixture
def demo() -> Iterator[Path]:
    """A copy of the demo where every user and node sees it."""
    with session_directory("demo", mode=0o1777) as directory:
        shutil.copytree(CHECKOUT / "demo", directory / "demo")
        yield directory


def run_demo(user: User, programs: Path, demo: Path, *options: str) -> str:
    work = demo / "work"
    user.run(["mkdir", work], check=True)
    command = [programs / "python", demo / "demo" / "run.py", "--directory", work, *QUICK, *options]
    compiler = need_command("gcc", "gcc libc6-dev")
    return user.run(command, env={"CC": compiler}, timeout=400, check=True).stdout


def test_the_demo_ends_with_the_usage_table(user1: User, udocker_bin: Path, demo: Path) -> None:
    shown = run_demo(user1, udocker_bin, demo)
    assert "$ udocker-batch submit" in shown
    assert "6 tasks, all done" in shown
    assert len(re.findall(r"^│ \d+ +│ completed ", shown, re.MULTILINE)) == 6


def test_the_demo_runs_on_slurm(user1: User, udocker_bin: Path, demo: Path, slurm: Slurm) -> None:
    shown = run_demo(user1, udocker_bin, demo, "--scheduler", "slurm")
    assert "6 tasks, all done" in shown
    assert len(re.findall(r"^│ \d+ +│ completed ", shown, re.MULTILINE)) == 6
    assert any(node in shown for node in slurm.nodes)
