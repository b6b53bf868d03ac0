"""The hooks that are written for Slurm: as good as nothing may go wrong because of them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from udocker_batch import arguments
from udocker_batch.cli import main
from udocker_batch.render import quote
from udocker_batch.slurm.hooks import command

HOOKS = ["prolog", "epilog", "taskprolog", "taskepilog"]
PROGRAMS = ["exit 3", "sleep 600", "kill -9 $$", "exec /nosuch"]
# What a Prolog is given, and no more: not even PATH (slurm.conf(5)).
BARE = {"SLURM_JOB_ID": "7", "SLURM_JOB_UID": str(os.getuid()), "SLURM_JOB_USER": "me"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory whose name is a trap for shells."""
    path = tmp_path / 'it\'s $(touch pwned) \\n "x"'
    path.mkdir()
    return path


def install(folder: Path, program: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    path = folder / "udocker-batch"
    path.write_text(f"#!/bin/sh\n{program}\n")
    path.chmod(0o755)
    for module in (arguments, command):
        monkeypatch.setattr(module, "installed_program", lambda: str(path))
    places = [f"--directory={folder}/hooks", f"--node-dir={folder}/node", f"--log={folder}/log"]
    assert main(["hooks", "install", "slurm", *places, "--limit=1", *words]) == 0


def call(folder: Path, hook: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / "hooks" / hook],
        env={**BARE, **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("hook", "program"),
    [
        *((hook, program) for hook in HOOKS for program in PROGRAMS),
        ("prolog", "trap '' TERM; sleep 600"),
    ],
)
def test_a_hook_ends_well_and_in_time_whatever_its_program_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch, hook: str, program: str
) -> None:
    install(folder, program, monkeypatch)
    result = call(folder, hook)
    assert result.returncode == 0, result
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_ends_well_where_nothing_can_be_written_or_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    install(folder, "exit 0", monkeypatch, "--log=/proc/nosuch/log", "--node-dir=/proc/nosuch/node")
    (folder / "udocker-batch").unlink()
    assert call(folder, hook).returncode == 0
    result = subprocess.run([folder / "hooks" / hook], env={}, capture_output=True, timeout=60, check=False)
    assert result.returncode == 0


def test_prolog_and_epilog_call_the_program_and_log_what_they_did(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = r'''printf '%s\n' "$UDOCKER_NODE_DIR: $* PATH=$PATH"'''
    install(folder, program, monkeypatch, "--keep=5")
    for hook in ("prolog", "epilog"):
        result = call(folder, hook)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    user = str(os.getuid())
    lines = (folder / "log").read_text().splitlines()
    path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
    assert f"{folder}/node: hooks run slurm prolog {path}" in lines
    assert f"{folder}/node: stage clean --user {user} --unused 5 {path}" in lines
    assert [line.split(" ", 2)[2] for line in lines if ": job 7:" in line] == [
        "prolog: job 7: status 0",
        "epilog: job 7: status 0",
    ]
    own = folder / "node" / f"udocker-stage-{user}"
    assert (own.stat().st_uid, own.stat().st_mode & 0o777) == (os.getuid(), 0o700)
    told = call(folder, "taskprolog", HOME="/")
    assert told.stdout == f"export UDOCKER_NODE_DIR={folder}/node\n"
    assert call(folder, "taskprolog", UDOCKER_NODE_DIR="/mine").stdout == ""


@pytest.mark.parametrize("trap", ["open to all", "a link"])
def test_the_prolog_makes_nothing_for_anybody_where_others_can_exchange_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    install(folder, "exit 0", monkeypatch)
    theirs = folder / "theirs"
    theirs.mkdir()
    if trap == "a link":
        (folder / "node").symlink_to(theirs)
    else:
        (folder / "node").mkdir()
        (folder / "node").chmod(0o777)
    assert call(folder, "prolog").returncode == 0
    assert "prolog: job 7: status 0" in (folder / "log").read_text()
    assert list((folder / "node").iterdir()) == []
    if trap == "open to all":
        (folder / "node").chmod(0o1777)
        assert call(folder, "prolog").returncode == 0
        assert [path.name for path in (folder / "node").iterdir()] == [f"udocker-stage-{os.getuid()}"]


def test_the_lines_for_slurm_are_printed_and_nonsense_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(folder, "", monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        f"{name}={folder}/hooks/{name.lower()}" for name in ("Prolog", "Epilog", "TaskProlog", "TaskEpilog")
    ]
    assert main(["hooks", "install", "slurm", "--log=x"]) == 125
    assert main(["hooks", "install", "slurm", "--node-dir=/x\ny"]) == 125
    assert main(["hooks", "install", "slurm", "--keep=-1"]) == 125
    assert main(["hooks", "install", "slurm", "--directory=/proc/nosuch"]) == 125
    assert main(["hooks", "run", "slurm", "prolog"]) == 125
    assert "no job is starting here" in capsys.readouterr().err


def test_the_task_is_read_from_the_jobs_script(monkeypatch: pytest.MonkeyPatch) -> None:
    from udocker_batch.scheduler import Finished
    from udocker_batch.taskspec import TaskSpec

    task = TaskSpec(image="x@sha256:0", command=("it's", "$x", "\udcff"), udocker_dir="/store", stage="node")
    script = f"#!/bin/sh\n# a job\nUDOCKER_BATCH_TASK={quote(task.to_json())}\nexport X\n"
    answers = {
        "1": Finished(0, script, ""),
        "2": Finished(0, "#!/bin/sh\ntrue\n", ""),
        "3": Finished(1, "", ""),
    }
    monkeypatch.setattr(command, "run_command", lambda asked: answers[asked.argv[3]])
    assert [command._task_of(job) for job in ("1", "2", "3")] == [task, None, None]
