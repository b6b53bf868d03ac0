"""Debuggers in a container: what their calls give them is the same as where no engine is."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.needs import need_command
from tests.unit.test_native_trap import NATIVE, WARNINGS, Guest, guest, programs, run

__all__ = ["guest", "programs"]  # fixtures

WAYS = ("one", "all", "group", "descriptor", "twice", "twice-all", "polling", "ends-only")
MODES = ("trap", "patch", "old-kernel", "trace-patch", "trace-all")


@pytest.fixture(scope="session")
def debugger() -> Iterator[Path]:
    """A program that traces itself, and waits by waitid(2)."""
    compiler = need_command("gcc", "gcc libc6-dev")
    directory = Path(tempfile.mkdtemp(prefix="udocker-debugger-"))
    directory.chmod(0o755)
    made, source = directory / "guest_waits", NATIVE / "tests/guest_waits.c"
    subprocess.run([compiler, *WARNINGS, "-static", "-o", made, source], check=True)
    yield made
    shutil.rmtree(directory)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("guest", MODES, indirect=True)
def test_who_waits_by_waitid_sees_the_calls_and_signals_of_the_program(
    guest: Guest, debugger: Path, way: str
) -> None:
    shutil.copy(debugger, guest.root / "bin")
    shown, natively = guest("/bin/guest_waits", way), run([str(debugger), way])
    assert (natively.returncode, natively.stderr) == (0, b"")
    assert natively.stdout.count(b"21 No such file or directory\n") == 6  # access(2)
    assert natively.stdout.endswith(b"\nend 1 7\n")
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout.decode() == natively.stdout.decode()
