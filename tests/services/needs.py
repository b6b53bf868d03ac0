"""Skip a test whose surroundings are missing, with the reason and the remedy."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def is_root() -> bool:
    return os.geteuid() == 0


def need_root() -> None:
    if not is_root():
        pytest.skip("needs root: run `sudo make test`")


def need_command(command: str, package: str) -> str:
    """The path of ``command``, which Debian's ``package`` brings."""
    # An ordinary user's PATH often lacks the administrator's directories.
    found = shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"needs the Debian package {package}: apt-get install {package}")
    return found


def need_i386() -> tuple[str, ...]:
    """The compiler's command for 32-bit programs of this machine, which it has to run as well."""
    compiler = (need_command("gcc", "gcc libc6-dev"), "-m32", "-msse2")
    reason = _cannot_run_i386(compiler)
    if reason:
        pytest.skip(reason)
    return compiler


@functools.cache
def _cannot_run_i386(compiler: tuple[str, ...]) -> str:
    with tempfile.TemporaryDirectory() as directory:
        source, program = Path(directory) / "program.c", Path(directory) / "program"
        source.write_text("#include <unistd.h>\nint main(void) { _exit(sizeof(void *)); }\n")
        built = subprocess.run(
            [*compiler, "-static", "-o", program, source], capture_output=True, check=False
        )
        if built.returncode != 0:
            return "needs the Debian packages gcc-multilib and libc6-dev-i386: apt-get install them"
        try:
            status = subprocess.run([program], check=False).returncode
        except OSError:
            status = None
    return "" if status == 4 else "this host's kernel runs no 32-bit programs"
