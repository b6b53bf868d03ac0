"""Why a task failed where the failure was ours, and not its program's."""

from __future__ import annotations

import os

from .usage import Usage

# docker's statuses for a container or a program that did not start (docker-run(1)); programs end so as well.
OURS = (125, 126, 127)
# How far back from the end of a task's errors the line is looked for, in bytes.
_TAIL = 8192


def our_reason(usage: Usage) -> str:
    """The one line that the task has told, from its record or from the file of its errors, else nothing."""
    error = usage.extra.get("error")
    if isinstance(error, str):
        return _plain(error)
    path = usage.extra.get("stderr")
    lines = _last_lines(path) if isinstance(path, str) else []
    return next((_plain(line) for line in reversed(lines) if line.startswith("udocker")), "")


def _last_lines(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []  # gone, or on a disk of the node


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
