"""Commands that take several objects: one that fails does not keep the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Callable

from udocker.cli.output import report
from udocker.errors import NotFoundError, UdockerError


def each(objects: Iterable[str], act: Callable[[str], None], ignore_missing: bool) -> int:
    """Do ``act`` for each object; the exit status of the last failure, 0 where there was none."""
    status = 0
    for name in objects:
        try:
            act(name)
        except UdockerError as error:
            if not (ignore_missing and isinstance(error, NotFoundError)):
                report("udocker", error)
                status = error.exit_status
    return status
