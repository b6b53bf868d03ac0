"""Scripts: what runs them, and their way into a container."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from .errors import BatchError

# Where a job's own script is seen in the container.
SCRIPT_TARGET = "/.udocker-script"


def interpreter(script: str) -> list[str]:
    """The command that a script's first line names (execve(2), interpreter scripts); raises BatchError.

    It is started with the script as its argument, because file systems of queues may be mounted noexec.
    """
    first = script.partition("\n")[0]
    words = first[2:].strip().split(None, 1)
    if not first.startswith("#!") or not words:
        raise BatchError("submit: script: no interpreter in its first line", "begin it with #!/bin/sh")
    return words


def with_comments(script: str, lines: Sequence[str]) -> str:
    """The script with lines of comment below its first line."""
    first, newline, rest = script.partition("\n")
    return first + newline + "".join(f"{line}\n" for line in lines) + rest


def kept_script(udocker_dir: str, script: str) -> Path:
    """The file of the store that holds a script, named by its content: any number of jobs share it."""
    digest = hashlib.sha256(os.fsencode(script)).hexdigest()
    return Path(udocker_dir, "batch", "scripts", digest)
