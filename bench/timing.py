"""Programs timed side by side: one of each in turn, so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence


def run_once(argv: Sequence[str], env: Mapping[str, str]) -> float:
    """Start a program, wait for it and return the seconds; raises RuntimeError where it fails."""
    begin = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, env)
    _, status = os.waitpid(pid, 0)
    seconds = time.perf_counter() - begin
    if status != 0:
        raise RuntimeError(f"{' '.join(argv)}: status {os.waitstatus_to_exitcode(status)}")
    return seconds


def interleave(
    cases: Mapping[str, Sequence[str]], env: Mapping[str, str], rounds: int
) -> dict[str, list[float]]:
    """Seconds of every case in every round; a first round that warms the caches is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for count in range(rounds + 1):
        for name, argv in cases.items():
            taken = run_once(argv, env)
            if count:
                seconds[name].append(taken)
    return seconds


def table(seconds: Mapping[str, Sequence[float]], base: str) -> str:
    """Medians in milliseconds, quartiles, and the ratio of medians to the case ``base``."""
    reference = statistics.median(seconds[base])
    lines = [f"{'':<28} {'median ms':>10} {'quartiles':>15} {'ratio':>7}"]
    for name, values in seconds.items():
        low, median, high = (value * 1000 for value in statistics.quantiles(values, n=4))
        ratio = statistics.median(values) / reference
        lines.append(f"{name:<28} {median:>10.2f} {low:>7.2f}-{high:<7.2f} {ratio:>7.2f}")
    return "\n".join(lines)
