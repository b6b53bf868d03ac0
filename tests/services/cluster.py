"""The Slurm cluster of ``tests/services/slurm``, seen from the tests."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from tests.services.needs import need_command, need_root
from tests.services.sharing import cache_directory, shared
from tests.services.waiting import wait_until

SCRIPTS = Path(__file__).parent / "slurm"
# The states from which a job does not come back (sacct(1), JOB STATE CODES); requeued ones do.
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}

# What slurmd logs of a job's script.
SCRIPT = re.compile(r"^\[(\S+)\] (?:Launching batch job (\d+) |\[(\d+)\.batch\] done with job)", re.MULTILINE)


class Slurm:
    """A running cluster: nodes node1 to node4 with four processors each, partitions main, low and high."""

    nodes = ("node1", "node2", "node3", "node4")
    accounts = ("test", "other")

    def __init__(self, state: Path) -> None:
        self._state = state

    @property
    def head_address(self) -> str:
        """The address under which the nodes reach this machine."""
        return (self._state / "network").read_text().strip() + ".254"

    @property
    def environment(self) -> dict[str, str]:
        """What a submitting user's environment has to add: nothing is needed, this only makes it plain."""
        return {"SLURM_CONF": str(self._state / "etc" / "slurm.conf")}

    def node_directory(self, node: str) -> Path:
        """Where this machine sees the /tmp of ``node``."""
        return self._state / "nodes" / node / "tmp"

    def up(self) -> None:
        _script("start", "--for-tests")

    def down(self) -> None:
        _script("stop")

    def is_ready(self) -> bool:
        return _script_status("ready") == 0

    def logs(self) -> str:
        return _script("logs")

    def script_spans(self) -> dict[str, tuple[float, float]]:
        """When each job's script was launched and had ended, in seconds since the epoch; by raw job id."""
        begins: dict[str, float] = {}
        spans: dict[str, tuple[float, float]] = {}
        for node in self.nodes:
            for stamp, launched, ended in SCRIPT.findall(
                (self._state / f"log/slurmd.{node}.log").read_text()
            ):
                moment = datetime.fromisoformat(stamp).timestamp()
                if launched:
                    begins[launched] = moment
                elif ended in begins:
                    spans[ended] = (begins[ended], moment)
        return spans

    @contextmanager
    def configured(self, *lines: str) -> Iterator[None]:
        """The cluster with more lines in its slurm.conf, for the block."""
        path = self._state / "etc" / "slurm.conf"
        before = path.read_text()
        try:
            path.write_text("\n".join([before, *lines, ""]))
            _output("scontrol", "reconfigure")
            yield
        finally:
            path.write_text(before)
            _output("scontrol", "reconfigure")

    def restart_controller(self) -> None:
        """Stop slurmctld and start it again; it answers when this returns."""
        _script("controller")

    def kill_controller(self, job: str) -> None:
        """Kill slurmctld once it has saved what it knows of ``job`` by now, and start it again."""
        saved = self._state / "slurmctld" / "job_state"
        for number in range(2):  # the first may have been under way
            before = saved.stat().st_ino
            _output("scontrol", "update", f"jobid={job}", f"comment=to-be-saved-{number}")
            wait_until(lambda before=before: saved.stat().st_ino != before, "a saved state", 60)
        _script("controller", "kill")

    def kill_node(self, node: str) -> None:
        """Let ``node`` crash with all its processes; Slurm notices after SlurmdTimeout (10 s, often 25)."""
        _script("node", "kill", node)

    def revive_node(self, node: str) -> None:
        """Boot ``node`` again, and wait until it takes jobs."""
        _script("node", "revive", node)
        self.wait_for_node(node, "IDLE")

    def wait_for_node(self, node: str, state: str, timeout: float = 60) -> None:
        """Wait for IDLE, MIXED, ALLOCATED, DOWN."""
        wait_until(lambda: self.node_state(node) == state, f"{node} {state}", timeout)

    def node_state(self, node: str) -> str:
        """scontrol's word, without flags: * for a node that does not respond, +DRAIN and so on.

        sinfo is not asked: it calls a node "alloc" for a while where scontrol says MIXED.
        """
        state = re.search(r" State=([A-Z_]+)", _output("scontrol", "-o", "show", "node", node))
        assert state is not None, f"scontrol show node {node}: no State"
        return state[1]

    def records(self, job: str, *fields: str, duplicates: bool = False) -> list[dict[str, str]]:
        """sacct's lines about ``job`` and its steps, or its array's tasks: JobID, State and ``fields``."""
        columns = ["JobID", "State", *fields]
        options = ["--duplicates"] if duplicates else []
        text = _output("sacct", "-n", "-P", *options, "-j", job, "-o", ",".join(columns))
        return [dict(zip(columns, line.split("|"))) for line in text.splitlines()]

    def states(self, job: str) -> dict[str, str]:
        """The state of each allocation of ``job`` (of every task of an array), without steps."""
        return {
            record["JobID"]: record["State"].split()[0]  # "CANCELLED by 1001"
            for record in self.records(job)
            if "." not in record["JobID"]
        }

    def wait_for_state(self, job: str, state: str, timeout: float = 60) -> None:
        """Wait until every task of ``job`` is in ``state``, for example RUNNING."""

        def reached() -> bool:
            return set(_output("squeue", "-h", "-o", "%T", "-j", job, may_fail=True).split()) == {state}

        wait_until(reached, f"job {job} {state}", timeout)

    def wait_for_end(self, job: str, timeout: float = 120) -> dict[str, str]:
        """Wait until every task of ``job`` has ended and is accounted; their states."""

        def ended() -> dict[str, str]:
            # Accounting lags behind: the controller knows which tasks there are, and for five minutes after
            # their end. squeue fails for a job that is forgotten.
            lines = _output("squeue", "-h", "-r", "-t", "all", "-o", "%i %T", "-j", job, may_fail=True)
            current = dict(line.split() for line in lines.splitlines())
            accounted = self.states(job)
            states = {**{task: "" for task in current}, **accounted}
            over = {*current.values(), *states.values()} <= ENDED
            return states if over else {}

        return wait_until(ended, f"end of job {job}", timeout, every=0.3)


def _script_status(name: str, *arguments: str) -> int:
    return subprocess.run([SCRIPTS / name, *arguments], capture_output=True, check=False).returncode


def _script(name: str, *arguments: str) -> str:
    return _output(str(SCRIPTS / name), *arguments)


def _output(*command: str, may_fail: bool = False) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if result.returncode != 0 and not may_fail:
        raise AssertionError(f"{' '.join(command)}: {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result.stdout


@contextmanager
def running_slurm() -> Iterator[Slurm]:
    """The cluster: the one that was started by hand if there is one, else a new one for the test runs."""
    need_root()
    need_command("slurmctld", "slurm-wlm")
    need_command("slurmdbd", "slurmdbd")
    need_command("mariadbd", "mariadb-server")
    state = cache_directory() / "slurm"
    cluster = Slurm(state)

    by_hand = state / "by-hand"

    def up() -> None:
        if not (by_hand.exists() and cluster.is_ready()):
            cluster.up()

    def down() -> None:
        if not by_hand.exists():
            cluster.down()

    with shared("slurm", up, down):
        yield cluster
