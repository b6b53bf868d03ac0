"""The processors that this process, and what it starts, may run on."""

from __future__ import annotations

import os

from udocker.errors import UsageError
from udocker.model.cpus import format_cpus


def restrict_to(cpus: frozenset[int]) -> None:
    """Run on ``cpus`` only from now on (sched_setaffinity(2)); raises UsageError where that is not allowed.

    The kernel itself leaves out what a batch system's cpuset forbids; docker refuses such a list instead,
    so that nobody computes on fewer processors than he asked for.
    """
    allowed = frozenset(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, cpus)
        missing = cpus - os.sched_getaffinity(0)
    except (OSError, ValueError):  # none of them is there; beyond the kernel's mask
        missing = cpus
    if missing:
        message = f"run: --cpuset-cpus {format_cpus(cpus)}: processors not available"
        raise UsageError(message, f"this process may use {format_cpus(allowed)}")
