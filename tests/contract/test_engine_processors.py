"""Every engine leaves programs the processors that they or their caller chose."""

from __future__ import annotations

import os
from collections.abc import Collection

import pytest

from tests.contract.roots import Result, Stage

ALL = frozenset(os.sched_getaffinity(0))
ONE = frozenset({min(ALL)})
LINE = "grep Cpus_allowed: /proc/self/status"


def allowed(result: Result) -> list[set[int]]:
    """The processors of each mask that proc(5) showed."""
    assert (result.status, result.err) == (0, b""), result
    masks = [int(line.split(":")[1].replace(",", ""), 16) for line in result.out.decode().splitlines()]
    return [{number for number in range(mask.bit_length()) if mask >> number & 1} for mask in masks]


@pytest.mark.parametrize("processors", [ONE, ALL])
def test_programs_and_theirs_have_the_processors_of_the_caller(
    stage: Stage, processors: Collection[int]
) -> None:
    launch = stage.plan("sh", "-c", f"{LINE}; sh -c '{LINE}; {LINE}'; true")
    result = stage.finish(launch, preexec_fn=lambda: os.sched_setaffinity(0, processors))
    assert allowed(result) == [processors] * 3


def test_a_program_binds_itself_as_runtimes_of_parallel_programs_do(stage: Stage) -> None:
    mask = f"{1 << min(ONE):x}"
    result = stage.run("sh", "-c", f"busybox taskset {mask} sh -c '{LINE}; {LINE}'; {LINE}")
    assert allowed(result) == [ONE, ONE, ALL]
