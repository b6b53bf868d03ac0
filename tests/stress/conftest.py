"""Containers under stress: the contract's, with the workload in them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.conftest import VARIANTS, launchers, staged
from tests.contract.roots import Stage
from tests.services.needs import need_command

__all__ = ["launchers"]

# `make test` tries a few, `make test-stress` all of them.
FULL = os.environ.get("UDOCKER_STRESS") == "full"


@pytest.fixture(scope="session")
def workload() -> Iterator[Path]:
    """The program workload.c."""
    compiler = need_command("gcc", "gcc libc6-dev")
    source = Path(__file__).with_name("workload.c")
    flags = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread")
    with tempfile.TemporaryDirectory(prefix="udocker-stress-") as directory:
        program = Path(directory) / "workload"
        subprocess.run([compiler, *flags, "-o", program, source], check=True)
        yield program


@pytest.fixture(params=["T1", "T2"])
def stage(request: pytest.FixtureRequest, launchers: Path, workload: Path) -> Iterator[Stage]:
    """A container whose every process traps its calls."""
    with staged(VARIANTS[request.param], launchers) as made:
        shutil.copy(workload, made.root / "bin/workload")
        yield made
