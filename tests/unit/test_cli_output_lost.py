"""What is printed to a place that takes nothing: one line, and the status of a failure."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAMS = {"udocker": "udocker.cli.main", "udocker-batch": "udocker_batch.cli"}


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("udocker", ["version"]),
        ("udocker", ["--help"]),
        ("udocker", ["run", "--help"]),
        ("udocker-batch", ["--help"]),
        ("udocker-batch", ["--version"]),
        ("udocker-batch", ["schema"]),
    ],
)
def test_a_full_disk_below_standard_output_is_told_in_one_line(program: str, words: list[str]) -> None:
    code = f"import sys; from {PROGRAMS[program]} import main; sys.exit(main(sys.argv[1:]))"
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-c", code, *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    line, hint = result.stderr.splitlines()
    assert result.returncode == 125
    assert line.startswith(f"{program}: ")
    assert "No space left on device" in line
    assert hint.startswith("  hint: ")
