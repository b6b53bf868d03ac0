"""Call sites that the trap engine rewrites: the program does as before, whoever runs or writes the text."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.roots import make_root
from tests.services.needs import need_command
from tests.unit.test_native_trap import NATIVE, VARIANTS, WARNINGS, Guest, Programs, programs

__all__ = ["programs"]  # a fixture


@pytest.fixture(params=VARIANTS)
def patched(request: pytest.FixtureRequest, programs: Programs) -> Iterator[Guest]:
    directory = Path(tempfile.mkdtemp(prefix="udocker-patch-")).resolve()
    guest = Guest(programs, VARIANTS[request.param], directory)
    make_root(guest.root)
    source = NATIVE / "tests/patch_check.c"
    program = guest.root / "bin/patch_check"
    compiler = need_command("gcc", "gcc libc6-dev")
    subprocess.run([compiler, *WARNINGS, "-static", "-pthread", "-o", program, source], check=True)
    subprocess.run(["chmod", "-R", "a+rwX", directory], check=True)
    yield guest
    shutil.rmtree(directory)


@pytest.mark.parametrize("name", ["made", "fixed", "threads"])
def test_text_does_what_it_did(patched: Guest, name: str) -> None:
    result = patched("patch_check", name)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
