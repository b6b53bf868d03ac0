"""Ranks of a step on one node find the first of them among the children of their parent."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from udocker_batch.identity import Stat

# A parent with three ranks: two of a step, and the first of another step of the same job.
PARENT = """
SLURM_JOB_ID=1 SLURM_STEP_ID=8 SLURM_LOCALID=0 sleep 60 & other=$!
SLURM_JOB_ID=1 SLURM_STEP_ID=7 SLURM_LOCALID=0 sleep 60 & first=$!
sleep 0.3
%s
SLURM_JOB_ID=1 SLURM_STEP_ID=7 SLURM_LOCALID=1 "$0" -c "$1"
echo $first
kill $first $other 2>/dev/null
"""
RANK = """
import os
from udocker_batch.siblings import leader_of
leader = leader_of(os.environ, "/nosuch", 0.5)
print("none" if leader is None else leader.pid)
from udocker_batch.siblings import _find
leader, unknown = _find(os.environ)
print(leader and (leader.pid, leader.is_there()), unknown)
"""


@pytest.mark.parametrize("is_first_there", [True, False])
def test_a_rank_finds_the_first_of_its_own_step(is_first_there: bool) -> None:
    script = PARENT % ("" if is_first_there else "kill $first; sleep 0.1")
    command = ["sh", "-c", script, sys.executable, RANK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    in_time, found, first = done.stdout.splitlines()
    assert in_time == "none"  # its container is not whole: it is in no namespace of its own
    assert found == (f"({first}, True) False" if is_first_there else "None False"), done


def test_the_stat_of_a_process_is_read_whatever_its_name() -> None:
    stat = Stat.of(os.getpid())
    assert stat is not None
    assert (stat.parent, stat.has_ended) == (os.getppid(), False)
    with subprocess.Popen(["sh", "-c", "exec 2>&-; echo ') Z 1 ' >/proc/$$/comm; exec sleep 60"]) as process:
        child = Stat.of(process.pid)
        assert child is not None
        assert (child.parent, child.has_ended) == (os.getpid(), False)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        zombie = Stat.of(process.pid)
        assert zombie is not None
        assert zombie.has_ended
    assert Stat.of(2**22 + 1) is None
