"""udocker-srun: an image in steps, of an allocation that is there or of their own."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.real.desk import Desk
from tests.services.cluster import Slurm
from tests.services.needs import need_command
from tests.services.waiting import wait_until


def srun(desk: Desk, image: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return desk.call("udocker-srun", f"--image={image}", *words, timeout=120, **options)


def test_ranks_of_several_nodes_run_in_one_prepared_image(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    text = (
        'echo "$UDOCKER_RANK/$UDOCKER_RANK_COUNT $(hostname) $V <$1> $(cat /proc/$$/status | grep -c Name)"'
    )
    result = srun(desk, busybox_there, "-N2", "-n4", "--env=V=w", "sh", "-c", text, "x", "a b$(c)")
    assert result.returncode == 0, result.stderr
    lines = sorted(line.split(" ", 2) for line in result.stdout.splitlines())
    assert [line[0] for line in lines] == ["0/4", "1/4", "2/4", "3/4"]
    assert len({line[1] for line in lines}) == 2
    assert {line[2] for line in lines} == {"w <a b$(c)> 1"}
    (container,) = (path for path in (desk.store / "containers").iterdir() if not path.is_symlink())
    assert container.is_dir()


def test_exit_status_and_signals_are_sruns(desk: Desk, slurm: Slurm, busybox_there: str) -> None:
    assert srun(desk, busybox_there, "-n2", "sh", "-c", "exit $((SLURM_PROCID + 3))").returncode == 4
    assert srun(desk, busybox_there, "sh", "-c", "kill -TERM $$; sleep 9").returncode == 143
    assert srun(desk, busybox_there, "/nosuch").returncode == 127
    assert srun(desk, busybox_there, "--export=NONE", "sh", "-c", "exit 6").returncode == 6
    trapping = "trap 'exit 7' USR1; echo ready; while :; do sleep 0.1; done"
    with desk.user.popen(
        [desk.programs / "udocker-srun", f"--image={busybox_there}", "-Jtold", "sh", "-c", trapping],
        env=desk.environment,
        cwd=desk.directory,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        desk.user.run(["scancel", "-s", "USR1", "-n", "told", "-u", desk.user.name], check=True)
        assert process.wait(30) == 7


def test_a_step_of_a_batch_job_on_the_host_runs_in_the_image(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    """--export=NONE is inherited by steps, which have to find what they run all the same."""
    script = (
        f"#!/bin/sh\n{desk.programs}/udocker-srun --image={busybox_there} -n2 sh -c 'echo $UDOCKER_JOB_ID'\n"
    )
    (desk.directory / "host.sh").write_text(script)
    exported = ",".join(["PATH", *desk.environment])
    job = desk.user.run(
        ["sbatch", "--parsable", f"--export={exported}", "-n2", "-o", "out", "host.sh"],
        env=desk.environment,
        cwd=desk.directory,
        check=True,
    ).stdout.strip()
    assert slurm.wait_for_end(job) == {job: "COMPLETED"}
    assert (desk.directory / "out").read_text() == f"{job}\n{job}\n"


def test_a_pty_is_the_programs_own(desk: Desk, slurm: Slurm, busybox_there: str) -> None:
    ours, theirs = pty.openpty()
    words = ["--pty", f"--image={busybox_there}", "sh", "-c", "tty; read line; echo got-$line; kill -INT 0"]
    with desk.user.popen(
        [desk.programs / "udocker-srun", *words],
        env=desk.environment,
        cwd=desk.directory,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = b""

        def told(text: bytes) -> bool:
            nonlocal seen
            seen += os.read(ours, 1000)
            return text in seen

        wait_until(lambda: told(b"/dev/"), "the name of a terminal", 60)
        os.write(ours, b"word\n")
        wait_until(lambda: told(b"got-word"), "an answer", 30)
        assert process.wait(30) == 130
    os.close(ours)
    assert b"not a tty" not in seen


def test_a_dry_run_and_what_is_wrong_start_nothing(desk: Desk, slurm: Slurm, busybox_there: str) -> None:
    shown = srun(desk, busybox_there, "--dry-run", "-n2", "true").stdout
    assert shown.startswith("UDOCKER_BATCH_TASK='{")
    assert shown.rstrip().endswith("/udocker-batch rank")
    assert not desk.store.exists()
    assert "one of them is needed" in desk.bad("udocker-srun", "-n2", "true")


def test_a_slurm_that_does_not_answer_is_one_clear_line(desk: Desk, slurm: Slurm, busybox_there: str) -> None:
    path = Path(slurm.environment["SLURM_CONF"])
    lines = ("SlurmctldPort=1" if "SlurmctldPort" in line else line for line in path.read_text().splitlines())
    silent = desk.directory / "slurm.conf"
    silent.write_text("\n".join([*lines, ""]))
    words = [f"--image={busybox_there}", "true"]
    told = desk.bad("udocker-srun", *words, env={"SLURM_CONF": str(silent)}).splitlines()
    assert told[0].startswith("udocker-srun: run: slurm: Slurmctld(primary) at ")
    assert told[1:] == ["  hint: sinfo tells whether Slurm answers here"]
    silent.write_text("")
    told = desk.bad("udocker-srun", *words, env={"SLURM_CONF": str(silent)}).splitlines()
    assert told[0] == "udocker-srun: run: slurm: Unable to process configuration file"
    assert told[1:] == ["  hint: sinfo tells whether Slurm answers here"]


@pytest.mark.parametrize("mode", ["R1", "T2"])
def test_ranks_of_a_node_read_each_others_memory(
    desk: Desk, slurm: Slurm, busybox_there: str, mode: str
) -> None:
    """As MPI does among them (CMA): in R they are in one user namespace for that."""
    compiler = need_command("gcc", "gcc")
    source, program = Path(__file__).with_name("cma.c"), desk.directory / "cma"
    subprocess.run([compiler, "-static", "-Wall", "-Werror", "-o", program, source], check=True)
    mount = f"--mount={desk.directory}:/w"
    result = srun(desk, busybox_there, f"--exec-mode={mode}", "-N1", "-n2", mount, "/w/cma")
    assert (result.returncode, result.stdout) == (0, "of rank 0\n"), result.stderr


def test_ranks_whose_first_one_has_ended_run_all_the_same(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    text = "test $SLURM_LOCALID = 0 || { readlink /proc/self/ns/user; }"
    for _ in range(3):
        result = srun(desk, busybox_there, "-N1", "-n4", "--overcommit", "sh", "-c", text)
        assert result.returncode == 0, result.stderr
        assert len(result.stdout.splitlines()) == 3


def test_every_rank_leaves_a_usage_record_and_a_step_has_a_line(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    burning = "i=0; while test $i -lt 200000; do i=$((i+1)); done; exit $((SLURM_PROCID == 2 ? 5 : 0))"
    script = "\n".join(
        [
            "#!/bin/sh",
            f"{desk.programs}/udocker-srun --image={busybox_there} -n4 sh -c '{burning}'",
            f"{desk.programs}/udocker-srun --image={busybox_there} -n1 true",
            f"{desk.programs}/udocker-srun --image={busybox_there} --no-usage -n1 true",
            f"{desk.programs}/udocker-srun --image={busybox_there} --mount=/nosuch:/x -n1 true",
            "exit 0",
        ]
    )
    (desk.directory / "steps.sh").write_text(script)
    words = ["sbatch", "--parsable", "-N2", "-n4", "-o", "out", "steps.sh"]
    environment = desk.environment
    job = desk.user.run(words, env=environment, cwd=desk.directory, check=True).stdout.strip()
    assert slurm.wait_for_end(job) == {job: "COMPLETED"}
    records = {(record["step"], record["rank"]): record for record in desk.records(job)}
    assert set(records) == {*(("0", rank) for rank in range(4)), ("1", 0), ("3", 0)}
    assert [records["0", rank]["exit_status"] for rank in range(4)] == [0, 0, 5, 0]
    for rank in range(4):
        record = records["0", rank]
        assert (record["state"], record["extra"]["cpus"]) == ("ended", 1)
        assert record["user_seconds"] + record["system_seconds"] > 0
        assert record["wall_seconds"] >= record["user_seconds"] / 2
        assert record["peak_memory"] > 0
    assert len({records["0", rank]["host"] for rank in range(4)}) == 2
    assert records["3", 0]["exit_status"] == 125
    lines = desk.batch("usage", job).splitlines()
    assert [line for line in lines if "job.0 (4 ranks)" in line and "failed 5" in line], lines
    assert any("job.1 (1 rank)" in line for line in lines)
    assert len(desk.batch("usage", "--format=csv", job).splitlines()) == 1 + len(records)


def test_a_signal_of_the_batch_system_comes_to_a_rank_once(
    desk: Desk, slurm: Slurm, busybox_there: str
) -> None:
    """The batch system sends it to the parent that accounts for the rank, which passes it on."""
    counting = "trap 'echo usr1' USR1; trap 'echo term; exit 7' TERM; echo ready; while :; do sleep 0.1; done"
    words = [f"--image={busybox_there}", "-Jcounted", "sh", "-c", counting]
    with desk.user.popen(
        [desk.programs / "udocker-srun", *words],
        env=desk.environment,
        cwd=desk.directory,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        job = desk.user.run(["squeue", "-h", "-n", "counted", "-o", "%i"], check=True).stdout.strip()
        for signal in ("USR1", "TERM"):
            desk.user.run(["scancel", "-s", signal, job], check=True)
            assert process.stdout.readline() == f"{signal.lower()}\n"
        assert process.stdout.read() == ""
        assert process.wait(30) == 7
    (record,) = desk.records(job)
    assert (record["state"], record["exit_status"]) == ("ended", 7)
