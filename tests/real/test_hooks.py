"""The hooks that udocker-batch writes for a site, in a real Slurm."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.real.desk import Desk
from tests.services.cluster import Slurm
from tests.services.waiting import matches, wait_until


def install(desk: Desk, directory: Path, *words: str) -> list[str]:
    """As the administrator; the lines for slurm.conf."""
    command = [desk.programs / "udocker-batch", "hooks", "install", "slurm", f"--directory={directory}"]
    places = [f"--node-dir={directory}/node", f"--log={directory}/log"]
    done = subprocess.run([*command, *places, *words], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.fixture
def site(place: Path) -> Path:
    """A directory of root's that all nodes see."""
    directory = place / "site"
    directory.mkdir()
    return directory


def test_hooks_prepare_and_clean_copies_on_the_node(
    desk: Desk, slurm: Slurm, busybox_there: str, site: Path
) -> None:
    lines = install(desk, site, "--keep=0")
    with slurm.configured(*lines):
        options = ("--stage=node", "-oout")
        text = "echo $(cat /proc/self/mountinfo | grep -c ' / ') ; ls /bin/busybox"
        job = desk.sbatch(busybox_there, "sh", "-c", text, options=options)
        assert slurm.wait_for_end(job) == {job: "COMPLETED"}
        assert (desk.directory / "out").read_text().endswith("/bin/busybox\n")
        (record,) = desk.records(job)
        # The Prolog has done it: the task found it ready.
        assert record["prepare"] == "warm", (record, (site / "log").read_text())
        wait_until(lambda: f"epilog: job {job}: status 0" in (site / "log").read_text(), "the epilog", 30)
        log = (site / "log").read_text()
        assert f"job {job}: user {desk.user.uid}: " in log
        assert f"prolog: job {job}: status 0" in log
        own = site / "node" / f"udocker-stage-{desk.user.uid}"
        assert own.stat().st_uid == desk.user.uid
        wait_until(lambda: not matches(own, "*/containers/*/ROOT"), "removal of the copy", 30)
    assert {slurm.node_state(node) for node in slurm.nodes} == {"IDLE"}


def test_hooks_that_cannot_do_anything_fail_no_job_and_drain_no_node(
    desk: Desk, slurm: Slurm, busybox_there: str, site: Path
) -> None:
    lines = install(desk, site, "--limit=1")
    for hook in ("prolog", "epilog", "taskprolog", "taskepilog"):
        text = (site / hook).read_text()
        (site / hook).write_text(text.replace(str(desk.programs / "udocker-batch"), "/bin/sleep 600; :"))
    with slurm.configured(*lines):
        job = desk.sbatch(busybox_there, "echo", "well", options=("-oout", "--stage=node"))
        assert slurm.wait_for_end(job) == {job: "COMPLETED"}
        wait_until(lambda: f"epilog: job {job}: status 124" in (site / "log").read_text(), "the epilog", 30)
    assert (desk.directory / "out").read_text() == "well\n"
    assert f"prolog: job {job}: status 124" in (site / "log").read_text()
    assert {slurm.node_state(node) for node in slurm.nodes} <= {"IDLE", "MIXED", "ALLOCATED"}
