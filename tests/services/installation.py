"""A normal installation of this checkout where every user and node can reach it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Callable

from tests.services.sharing import cache_directory, exclusive

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = ("udocker", "batch", "templates", "setup.py", "pyproject.toml", "README.md")
SYSTEM_PYTHON = Path("/usr/bin/python3")


@contextmanager
def installed() -> Iterator[Path]:
    """The directory of the commands; made anew when a source changed, others' installations left alone."""
    sources = _source_files()
    with kept_environment("venv", _digest(sources), lambda venv: _install(sources, venv)) as venv:
        yield venv / "bin"


@contextmanager
def kept_environment(kind: str, digest: str, make: Callable[[Path], None]) -> Iterator[Path]:
    """An environment of ``kind`` that outlives the run; made where the one of ``digest`` is not there yet.

    Those of other digests go then, unless another run uses them.
    """
    with exclusive("installation"):
        venv = cache_directory() / f"{kind}-{digest[:16]}"
        if not (venv / "complete").exists():
            _remove_unused(kind)
            make(venv)
        descriptor = os.open(venv, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    try:
        yield venv
    finally:
        os.close(descriptor)


def _source_files() -> list[Path]:
    files = []
    for name in SOURCES:
        top = CHECKOUT / name
        files += [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
    return sorted(path for path in files if not _is_built(path))


def _is_built(path: Path) -> bool:
    inside = path.relative_to(CHECKOUT)
    return (
        "__pycache__" in inside.parts
        or any(part.endswith(".egg-info") for part in inside.parts)
        or inside.parts[:3] == ("udocker", "native", "bin")
    )


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(CHECKOUT)} {content}\n".encode())
    return digest.hexdigest()


def _install(sources: list[Path], venv: Path) -> None:
    """Build a wheel, and install it with what it requires into a new environment."""
    building = [*_pip(_builder()), "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir"]
    with tempfile.TemporaryDirectory(prefix="udocker-test-build-") as scratch:
        # From a copy: pip would leave build/ in the checkout, and old files of it in the next wheel.
        copy = Path(scratch) / "source"
        for path in sources:
            target = copy / path.relative_to(CHECKOUT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        _call([*building, scratch, str(copy)])
        create_venv(venv, [str(wheel) for wheel in Path(scratch).glob("*.whl")])


def _builder() -> Path:
    """A Python that has what a build requires: the running one (Makefile), where it is the system's.

    zig in a new place compiles a C library first.
    """
    running = Path(sys.executable)
    if running.resolve() == SYSTEM_PYTHON.resolve() and sys.prefix != sys.base_prefix:
        return running
    return _build_environment() / "bin" / "python"


def _build_environment() -> Path:
    """The system's Python with what pyproject.toml requires for a build, kept."""
    line = re.search(r"^requires = (\[.*\])$", (CHECKOUT / "pyproject.toml").read_text(), re.MULTILINE)
    assert line is not None, "pyproject.toml: no requires line"
    requires: list[str] = json.loads(line[1])
    venv = cache_directory() / f"build-{hashlib.sha256(line[1].encode()).hexdigest()[:16]}"
    if not (venv / "complete").exists():
        create_venv(venv, requires)
    return venv


def create_venv(venv: Path, packages: Sequence[str]) -> None:
    """An environment of Debian's Python, which every user may read, with ``packages`` from PyPI."""
    python = str(SYSTEM_PYTHON if SYSTEM_PYTHON.exists() else sys.executable)
    _call([python, "-m", "venv", "--clear", str(venv)])
    # pip would compile one file after the other; like it, never mind files that are for other Pythons.
    inside = venv / "bin" / "python"
    _call([*_pip(inside), "install", "--no-compile", *packages])
    compiling = [str(inside), "-m", "compileall", "-qq", "-j", "0", str(venv / "lib")]
    subprocess.run(compiling, stdout=subprocess.DEVNULL, umask=0o022, check=False)
    (venv / "complete").touch()


def _pip(python: Path) -> list[str]:
    return [str(python), "-m", "pip", "--quiet"]


def _call(command: list[str]) -> None:
    """Run it with a umask that lets the other users read what root installs."""
    # pip takes a checkout on PYTHONPATH for the installed package.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, umask=0o022, check=False
    )
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {result.returncode}\n{result.stdout}\n{result.stderr}")


def _remove_unused(kind: str) -> None:
    for venv in cache_directory().glob(f"{kind}-*"):
        descriptor = os.open(venv, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(venv)
        except BlockingIOError:  # another run's
            continue
        finally:
            os.close(descriptor)
