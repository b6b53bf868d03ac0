"""Where the native programs lie."""

from __future__ import annotations

import os
from pathlib import Path

from udocker.errors import EngineUnavailable

_DIRECTORY = Path(__file__).resolve().parent.parent / "native" / "bin"


def locate(program: str, directory: Path = _DIRECTORY) -> Path:
    """The native program's path; raises EngineUnavailable where it is missing or cannot be executed."""
    path = directory / program
    if not path.is_file():
        raise EngineUnavailable(
            f"engine: {path}: this installation lacks its native program",
            "install the package again with pip, which builds or brings it",
        )
    # access(2) also refuses where the file system is mounted noexec.
    if not os.access(path, os.X_OK):
        raise EngineUnavailable(
            f"engine: {path}: cannot be executed", "give it x permission, or install where noexec is not set"
        )
    return path
