"""The native programs as setup.py builds them: here, and for another machine as far as they are for it."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.needs import need_command
from udocker.engine.binaries import sums

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"udocker-account", "udocker-trap", "udocker-userns"}
# elf(5), e_machine and e_type
MACHINES = {"x86_64": 62, "aarch64": 183}
EXECUTABLE = 2


def build(directory: Path, compiler: str) -> Path:
    """What a wheel for this compiler's machine would hold."""
    env = {**os.environ, "CC": compiler}
    place = ["egg_info", "--egg-base", str(directory), "build_py", "--build-lib", str(directory / "lib")]
    command = [sys.executable, "setup.py", "--quiet", *place]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warning: unused" not in done.stderr
    return directory / "lib/udocker/native/bin"


def need_zig() -> str:
    command = [sys.executable, "-m", "ziglang"]
    if subprocess.run([*command, "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("needs zig: pip install ziglang")
    return " ".join([*command, "cc"])


def machine_and_type(program: Path) -> tuple[int, int]:
    kind, machine = struct.unpack_from("<HH", program.read_bytes(), 16)
    return machine, kind


def run(program: Path, *before: str) -> tuple[int, str]:
    done = subprocess.run([*before, program, "--probe"], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


def check_sums(programs: Path) -> None:
    found = sums(programs)
    assert found.keys() == PROGRAMS
    for name, digest in found.items():
        assert hashlib.sha256((programs / name).read_bytes()).hexdigest() == digest


@pytest.mark.skipif(platform.machine() not in MACHINES, reason="a machine that nobody builds for yet")
def test_gcc_builds_programs_that_run(tmp_path: Path) -> None:
    programs = build(tmp_path, need_command("gcc", "gcc libc6-dev"))
    check_sums(programs)
    for name in PROGRAMS:
        assert machine_and_type(programs / name) == (MACHINES[platform.machine()], EXECUTABLE)
    if platform.machine() == "x86_64":
        assert run(programs / "udocker-trap") == (0, "")


def test_zig_builds_for_another_machine_what_runs_there_or_says_that_it_does_not(tmp_path: Path) -> None:
    programs = build(tmp_path, f"{need_zig()} -target aarch64-linux-musl")
    check_sums(programs)
    for name in PROGRAMS:
        assert machine_and_type(programs / name) == (MACHINES["aarch64"], EXECUTABLE)
    emulator = next(filter(None, map(shutil.which, ("qemu-aarch64-static", "qemu-aarch64"))), None)
    if emulator is None:
        pytest.skip("built; needs qemu-aarch64-static to be run: apt-get install qemu-user-static")
    status, told = run(programs / "udocker-trap", emulator)
    assert status == 125
    assert told == "udocker: run: trap engine: for x86-64 only (execution mode R1 works on other machines)\n"
    status, told = run(programs / "udocker-userns", emulator)
    assert status in (0, 125)
    assert told.count("\n") == (1 if status else 0)


def test_what_is_built_for_other_machines_says_so_in_one_line(tmp_path: Path) -> None:
    program = tmp_path / "udocker-trap"
    source = ROOT / "udocker/native/elsewhere/trap.c"
    compiler = need_command("gcc", "gcc libc6-dev")
    subprocess.run([compiler, "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    line = "udocker: run: trap engine: for x86-64 only (execution mode R1 works on other machines)\n"
    assert run(program) == (125, line)
