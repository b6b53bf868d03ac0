"""Fixtures of the engines' contract."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.roots import Stage, make_stage, remove
from udocker.engine.binaries import locate
from udocker.engine.select import ENGINES, MODES
from udocker.engine.userns import PROGRAM, UsernsEngine
from udocker.model.mode import ExecutionMode

# Every mode, and engine R once more as on a kernel without the newer calls.
VARIANTS = [*(mode.value for mode in MODES), "R1-old-kernel"]
OLD_KERNEL = ("openat2", "mount_setattr", "pivot_root")


@pytest.fixture(scope="session")
def launcher() -> Iterator[Path]:
    """Engine R's launcher, where an ordinary user can reach it although the tests may run as root."""
    directory = Path(tempfile.mkdtemp(prefix="udocker-launcher-"))
    directory.chmod(0o755)
    copy = directory / PROGRAM
    shutil.copy(locate(PROGRAM), copy)
    copy.chmod(0o755)
    yield copy
    shutil.rmtree(directory)


@pytest.fixture(params=VARIANTS)
def stage(request: pytest.FixtureRequest, launcher: Path) -> Iterator[Stage]:
    """A container under each mode."""
    name, _, old = request.param.partition("-")
    mode = ExecutionMode.parse(name)
    engine = ENGINES[mode.family]
    support = engine.check()
    if not support.available:
        pytest.skip(f"this host does not support {mode.value}: {support.reason}")
    if mode.family == "R":
        engine = UsernsEngine(launcher, OLD_KERNEL if old else ())
    directory = Path(tempfile.mkdtemp(prefix="udocker-contract-"))
    directory.chmod(0o755)
    made = make_stage(directory, engine, mode)
    engine.prepare(made.container, mode)
    yield made
    remove(directory)
