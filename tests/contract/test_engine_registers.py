"""A system call leaves a program's registers alone, whatever stands between it and the kernel."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from tests.contract.roots import Stage
from tests.services.needs import need_command

FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static")


def test_a_call_changes_no_register_that_the_kernel_keeps(stage: Stage) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the registers are those of x86-64")
    compiler = need_command("gcc", "gcc libc6-dev")
    program = stage.root / "bin/registers"
    subprocess.run([compiler, *FLAGS, "-o", program, Path(__file__).with_name("registers.c")], check=True)
    result = stage.run("registers")
    assert (result.status, result.out, result.err) == (0, b"", b"")
