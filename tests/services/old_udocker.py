"""udocker 1.3.17 from PyPI, in an environment of its own that every user may read."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.services.installation import SYSTEM_PYTHON
from tests.services.sharing import cache_directory, exclusive

VERSION = "1.3.17"


def old_udocker() -> Path:
    """The program; installed once, and kept in the tests' cache."""
    with exclusive("old-udocker"):
        venv = cache_directory() / f"udocker-{VERSION}"
        if not (venv / "complete").exists():
            shutil.rmtree(venv, ignore_errors=True)
            _install(venv)
            (venv / "complete").touch()
    return venv / "bin" / "udocker"


def _install(venv: Path) -> None:
    former = os.umask(0o022)
    try:
        subprocess.run([SYSTEM_PYTHON, "-m", "venv", venv], check=True, capture_output=True)
        pip = [venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        result = subprocess.run([*pip, f"udocker=={VERSION}"], check=False, capture_output=True, text=True)
    finally:
        os.umask(former)
    if result.returncode != 0:
        pytest.skip(f"needs udocker {VERSION} from PyPI, which pip could not install: {result.stderr[-300:]}")
