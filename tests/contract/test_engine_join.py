"""A program joins a run: the same files, binds and working directory, in every mode."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import VARIANTS, staged
from tests.contract.roots import Result, Stage
from udocker.engine.base import Identity, Joining, Launch
from udocker.model.mount import Mount
from udocker.system.process import ProcessIdentity


@contextmanager
def running(stage: Stage, script: str = "echo up; read end", **spec: Any) -> Iterator[tuple[Launch, Any]]:
    """A run that goes on until the end of the block."""
    launch = stage.plan("sh", "-c", script, **spec)
    with stage.start(launch, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield launch, process


def join(stage: Stage, run: tuple[Launch, Any], *command: str, **more: Any) -> Result:
    launch, process = run
    start = ProcessIdentity.of(process.pid).start
    joining = Joining(process.pid, start, command, {**launch.env, **more.pop("env", {})}, **more)
    return stage.finish(stage.engine.join(launch, joining))


def test_a_program_that_joins_sees_files_and_binds_of_the_run(stage: Stage) -> None:
    stage.file("data/name")
    mount = Mount(str(stage.host / "data"), "/data", read_only=True)
    with running(stage, "echo new >/tmp/made; echo up; read end", mounts=(mount,)) as run:
        script = "cat /tmp/made; ls /data; echo x >/data/other; echo $?; ls /bin/busybox"
        result = join(stage, run, "sh", "-c", script)
    assert result.out == b"new\nname\n1\n/bin/busybox\n"
    assert b"Read-only file system" in result.err


@pytest.mark.parametrize("status", [0, 1, 77])
def test_a_program_that_joins_has_an_exit_status_of_its_own(stage: Stage, status: int) -> None:
    with running(stage) as run:
        assert join(stage, run, "sh", "-c", f"exit {status}").status == status
        assert run[1].poll() is None


def test_a_program_that_joins_is_looked_up_in_the_container(stage: Stage) -> None:
    with running(stage) as run:
        result = join(stage, run, "nosuch")
        assert result.status == 127
        assert result.err.startswith(b"udocker: exec: nosuch: not found in the container")
        assert len(result.err.splitlines()) == 1


def test_a_program_that_joins_detached_leaves_standard_error_to_its_launcher(stage: Stage) -> None:
    with running(stage) as run:
        started = join(stage, run, "sh", "-c", "echo out; echo err >&2; exit 3", detached=True)
        assert (started.status, started.out, started.err) == (3, b"out\nerr\n", b"")
        refused = join(stage, run, "nosuch", detached=True)
        assert (refused.status, refused.out) == (127, b"")
        assert refused.err.startswith(b"udocker: exec: nosuch: not found in the container")


def test_nobody_who_reads_the_launchers_words_waits_for_a_program_that_joined_detached(stage: Stage) -> None:
    with running(stage) as run:
        launch, process = run
        start = ProcessIdentity.of(process.pid).start
        command = ("sh", "-c", "echo up; read end; echo $end")
        joining = Joining(process.pid, start, command, launch.env, detached=True)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with stage.start(stage.engine.join(launch, joining), **pipes) as joined:
            assert joined.stdout is not None and joined.stderr is not None
            assert joined.stdout.readline() == b"up\n"
            assert joined.stderr.read() == b""  # closed, though the program goes on
            assert joined.communicate(b"end\n", timeout=60) == (b"end\n", b"")


def test_a_program_that_joins_begins_in_the_working_directory_of_the_run(stage: Stage) -> None:
    with running(stage, workdir="/tmp") as run:
        assert join(stage, run, "pwd").out == b"/tmp\n"
        assert join(stage, run, "pwd", workdir="/etc").out == b"/etc\n"


def test_a_program_that_joins_has_the_variables_that_it_is_given(stage: Stage) -> None:
    with running(stage, env=(("A", "run"), ("B", "run"))) as run:
        assert join(stage, run, "sh", "-c", "echo $A $B", env={"B": "own"}).out == b"run own\n"


def test_a_program_that_joins_is_the_user_of_the_run(stage: Stage) -> None:
    with running(stage, "echo up; read end", user=stage.somebody) as run:
        inside = "1234\n" if stage.engine.abilities.other_users else f"{os.fsdecode(_uid(run))}\n"
        assert os.fsdecode(join(stage, run, "id", "-u").out) == inside


def _uid(run: tuple[Launch, Any]) -> str:
    words = run[0].argv
    return words[words.index("--uid") + 1]


def test_a_program_that_joins_can_be_somebody_else(stage_of_others: Stage) -> None:
    with running(stage_of_others) as run:
        result = join(stage_of_others, run, "id", identity=Identity(1234, 2345))
        assert result.out.startswith(b"uid=1234(alice) gid=2345(staff)")
        owner = join(stage_of_others, run, "sh", "-c", ">/tmp/own; ls -n /tmp/own", identity=Identity(7, 8))
        assert owner.out.split()[2:4] == [b"7", b"8"]


def test_a_program_that_joins_has_no_more_rights_than_the_run(stage: Stage) -> None:
    with running(stage) as run:
        script = (
            "umount /proc 2>/dev/null && echo done; mount -t tmpfs none /tmp 2>/dev/null && echo done; true"
        )
        assert join(stage, run, "sh", "-c", script).out == b""


@pytest.mark.parametrize("name", [name for name, variant in VARIANTS.items() if variant.mode.family == "R"])
def test_joining_the_namespaces_of_a_process_that_is_gone_fails_in_one_line(
    name: str, launchers: Path
) -> None:
    with staged(VARIANTS[name], launchers) as stage, running(stage) as (launch, process):
        other = Joining(process.pid, 1, ("true",), launch.env)
        result = stage.finish(stage.engine.join(launch, other))
    assert result.status == 125
    assert b"its program has ended meanwhile" in result.err
    assert len(result.err.splitlines()) == 1
