"""udocker-sbatch as users of sbatch write it: scripts, their directives, every form of option."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.real.desk import Desk
from tests.services.cluster import Slurm
from udocker_batch.slurm.options import SBATCH, SRUN, Syntax, Takes, read_help

SCRIPT = """#!/bin/sh
#SBATCH --job-name="from script" --array=1-9
#SBATCH -o out-%a -W
#PBS -N pbs -J 1,3 -l walltime=0:05:00
printf '<%s>' "$UDOCKER_TASK_ID" "$SLURM_ARRAY_TASK_COUNT" "$SLURM_JOB_NAME" "$V" "$@"
test -e /etc/busybox.conf || test ! -e /etc/debian_version || exit 9
"""


def test_a_script_with_directives_runs_in_the_image_and_is_waited_for(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    (desk.directory / "job script.sh").write_text(SCRIPT)
    words = ["--image", busybox_there, "--env=V=a b", "job script.sh", "x y", "$(z)", "--array=9"]
    result = desk.call("udocker-sbatch", *words, timeout=120)
    assert result.returncode == 0, result.stderr
    job = result.stdout.split()[-1]
    assert result.stdout == f"Submitted batch job {job}\n"
    for index in (1, 3):
        text = (desk.directory / f"out-{index}").read_text()
        assert text == f"<{index}><2><pbs><a b><x y><$(z)><--array=9>"
    assert slurm.wait_for_end(job) == {f"{job}_1": "COMPLETED", f"{job}_3": "COMPLETED"}
    rows = slurm.records(job, "Timelimit", "JobName")
    assert {row["Timelimit"] for row in rows if "." not in row["JobID"]} == {"00:05:00"}
    assert [line.split()[:2] for line in desk.batch("status", job).splitlines()] == [
        ["1", "completed"],
        ["3", "completed"],
    ]


def test_a_pbs_script_from_standard_input_runs_in_a_container_that_is_there(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    for words in (("pull", busybox_there), ("create", "--name=box", busybox_there)):
        desk.call("udocker", *words, check=True)
    text = "#!/bin/sh\n#PBS -N pbs -J 0-1 -j oe -o pbs.out\necho $SLURM_JOB_NAME $UDOCKER_TASK_COUNT\n"
    words = ["--container", "box", "--exec-mode=T2", "--parsable", "-"]
    job = desk.call("udocker-sbatch", *words, input=text, check=True).stdout.strip()
    assert set(slurm.wait_for_end(job).values()) == {"COMPLETED"}
    assert (desk.directory / "pbs.out").read_text() in ("pbs 2\n", "pbs 2\npbs 2\n")
    assert {record["image"] for record in desk.records(job)} == {"box"}
    assert "nosuch" in desk.bad("udocker-sbatch", "--container=nosuch", "--", "true")
    assert "R9" in desk.bad("udocker-sbatch", "--container=box", "--exec-mode=R9", "--", "true")


def test_quiet_and_wrap_and_wait_do_what_they_do_in_sbatch(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    words = ["-QW", f"--image={busybox_there}", "--wrap=exit 4", "-o", "/dev/null"]
    result = desk.call("udocker-sbatch", *words, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (4, "", "")
    assert desk.call("udocker-sbatch", "--version").stdout.startswith("slurm")


@pytest.mark.parametrize(("command", "options"), [("sbatch", SBATCH), ("srun", SRUN)])
def test_the_installed_commands_options_are_those_that_we_know(
    slurm: Slurm, command: str, options: Syntax
) -> None:
    """getopt itself tells what an option takes, before the command asks the cluster for anything."""
    listed = set(read_help(subprocess.run([command, "--help"], capture_output=True, text=True).stdout))
    assert listed - set(options.names) == set()
    for name in sorted(listed - {"help", "usage", "version"}):
        assert _taken(command, name) is options.names[name], name
    letters = {
        letter for letter in options.letters if "invalid option" not in _complaint(command, f"-{letter}")
    }
    assert letters == set(options.letters)


def _taken(command: str, name: str) -> Takes:
    if "doesn't allow" in _complaint(command, f"--{name}=x", "--help"):
        return Takes.NOTHING
    return Takes.VALUE if "requires an argument" in _complaint(command, f"--{name}") else Takes.JOINED


def _complaint(*words: str) -> str:
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    done = subprocess.run(words, capture_output=True, text=True, env=environ, stdin=subprocess.DEVNULL)
    return done.stderr
