"""Targets in C, each a program of its own: run by libFuzzer, or with a series of random inputs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Optional

HERE = Path(__file__).resolve().parent
PATH = HERE.parents[2] / "udocker" / "native" / "path"
SOURCES = {"path": [HERE / "path_fuzz.c", HERE / "path_kernel.c", *sorted(PATH.glob("*.c"))]}
FLAGS = (
    *("-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror"),
    "-fno-sanitize-recover=all",
)
# An exit status of the targets: what they need is forbidden here.
CANNOT_TRY = 77
# The helper process has nothing to leak, and the search for leaks needs ptrace.
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0"}


def clang() -> Optional[str]:
    """The newest clang there is: libFuzzer comes with it."""
    found = [shutil.which(name) for name in ("clang", *(f"clang-{version}" for version in range(30, 10, -1)))]
    return next((path for path in found if path), None)


def with_libfuzzer(compiler: str, name: str, program: Path) -> None:
    """Compile a target for `make fuzz`."""
    _compile(compiler, "fuzzer,address,undefined", SOURCES[name], program)


def with_random_inputs(compiler: str, name: str, program: Path) -> None:
    """Compile a target for ``program COUNT SEED``."""
    _compile(compiler, "address,undefined", [HERE / "path_random.c", *SOURCES[name]], program)


def _compile(compiler: str, sanitizers: str, sources: list[Path], program: Path) -> None:
    command = [compiler, *FLAGS, f"-fsanitize={sanitizers}", "-o", str(program), *map(str, sources)]
    subprocess.run(command, check=True)
