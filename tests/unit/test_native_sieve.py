"""The filter's text: of every number it says what the rules say, however many there are."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.services.needs import need_command
from tests.unit.test_native_path import SANITIZE
from tests.unit.test_native_trap import NATIVE, WARNINGS

# Where the engine's text would lie: below 4 GiB, for a program that a compiler's defaults link.
TEXT = ["-Wl,--defsym=trap_text_start=0x10000000", "-Wl,--defsym=trap_text_end=0x10010000"]


def test_every_number_is_judged_by_its_rule(tmp_path: Path) -> None:
    compiler = need_command("gcc", "gcc libc6-dev")
    sources = [NATIVE / "tests/sieve_check.c", NATIVE / "trap/sieve.c", NATIVE / "tracer/judge.c"]
    program = tmp_path / "sieve_check"
    command = [compiler, *WARNINGS, *SANITIZE, "-fno-pie", "-no-pie", *TEXT, "-o", program, *sources]
    subprocess.run(command, check=True)
    result = subprocess.run([program], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
