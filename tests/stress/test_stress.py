"""The trap engine where all happens at once: a thousand runs, little memory, thousands of processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.roots import Stage, identity_options
from tests.services.needs import need_command
from tests.stress.conftest import FULL
from udocker.model.mode import ExecutionMode
from udocker.run.execute import spawn

RUNS = {ExecutionMode.T1: 100 if FULL else 4, ExecutionMode.T2: 1000 if FULL else 8}
RUNS_UNDER_A_LIMIT = 50 if FULL else 4
CROWD = 2000 if FULL else 200
TIMEOUT = 300


def work(stage: Stage, runs: int, before: Sequence[str] = ()) -> None:
    """Run the workload again and again; ``before`` is what the launcher is started by."""
    plan = stage.plan("workload", "work", "40")
    launch = replace(plan, argv=(*before, *plan.argv))
    files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    for number in range(runs):
        with spawn(launch, **files, **identity_options()) as process:
            try:
                out, err = process.communicate(timeout=TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                raise AssertionError(f"run {number} did not end in {TIMEOUT} s") from None
        assert (process.returncode, out, err) == (0, b"", b""), f"run {number}"
    assert not any((stage.root / "tmp").iterdir())


@pytest.mark.timeout(0 if FULL else 600)
def test_threads_children_and_signals_at_once_in_every_run(stage: Stage) -> None:
    work(stage, RUNS[stage.mode])


@pytest.mark.timeout(0 if FULL else 600)
@pytest.mark.parametrize(
    "limit",
    [
        "ulimit -s unlimited",  # the kernel lays memory out from below then
        "ulimit -s 256",
        "ulimit -v 131072",
        "ulimit -n 32",
    ],
)
def test_the_same_under_a_limit(stage: Stage, limit: str) -> None:
    work(stage, RUNS_UNDER_A_LIMIT, ("/bin/sh", "-c", f'{limit} && exec "$@"', "sh"))


def test_the_same_where_addresses_are_not_random(stage: Stage) -> None:
    work(stage, RUNS_UNDER_A_LIMIT, (need_command("setarch", "util-linux"), "-R"))


def memory_of(process: int) -> tuple[int, int]:
    """What a process has for itself, in all and of the engine's, in bytes: /proc/PID/smaps (proc(5))."""
    whole = engine = 0
    where = 0
    for line in Path(f"/proc/{process}/smaps").read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            where = int(first.partition("-")[0], 16)
        elif first in ("Private_Dirty:", "Private_Clean:"):
            size = int(line.split()[1]) * 1024
            whole += size
            engine += size if where >> 32 == 0x7EA0 else 0
    return whole, engine


@pytest.mark.timeout(0 if FULL else 600)
def test_a_crowd_of_processes_lives_in_one_container(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    need = CROWD + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    if hard != resource.RLIM_INFINITY and hard < need:
        pytest.skip(f"needs leave for {need} processes: ulimit -u {need}")
    launch = stage.plan("workload", "crowd", str(CROWD))
    pipe = subprocess.PIPE
    with stage.start(launch, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout.readline() == b"%d alive\n" % CROWD
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == CROWD
        sizes = [memory_of(int(child)) for child in children[:20]]
        mean, engine = (sum(numbers) // len(numbers) for numbers in zip(*sizes))
        assert mean > engine > 0
        if FULL:
            with capsys.disabled():
                mode = stage.mode.value
                sys.stdout.write(f"\n{mode}: {mean} bytes a process for itself, {engine} the engine's\n")
        out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out, err) == (0, b"", b"")
    assert not [child for child in children if os.path.exists(f"/proc/{child}")]
