"""What the engines T and P do that no other engine needs to, or otherwise than they."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.roots import Result, Stage, caller
from tests.services.needs import need_root
from udocker.engine.base import Launch
from udocker.engine.translator import FILES
from udocker.model.mount import Mount


@pytest.fixture
def trap(stage_without_namespaces: Stage) -> Stage:
    """A container whose program is the caller by default."""
    uid, gid = caller()  # who is in no file of the container
    return stage_without_namespaces.image(user=f"{uid}:{gid}")


def with_options(launch: Launch, *options: str) -> Launch:
    program, *rest = launch.argv
    return replace(launch, argv=(program, *options, *rest))


def run(stage: Stage, script: str, *options: str) -> Result:
    return stage.finish(with_options(stage.plan("sh", "-c", script), *options))


# ---- uname ----


def test_another_kernel_is_shown_to_the_program_and_to_what_it_starts(trap: Stage) -> None:
    (trap.root / "bin/uname").symlink_to("busybox")
    script = "uname -r; sh -c 'uname -r; uname -s'; uname -n"
    host = os.uname()
    assert (
        trap.output("sh", "-c", script, kernel="2.6.32-el6")
        == f"2.6.32-el6\n2.6.32-el6\nLinux\n{host.nodename}\n"
    )
    assert trap.output("uname", "-r") == f"{host.release}\n"


def test_a_release_that_no_kernel_could_have_is_refused(trap: Stage) -> None:
    result = trap.run("true", kernel="1" * 65)
    assert result.status == 125
    assert result.err == b"udocker: run: --kernel: File name too long\n"


# ---- files with text after them ----


def copies(stage: Stage) -> dict[str, tuple[int, str]]:
    files = Path(stage.container.directory) / FILES
    return {path.name: (path.stat().st_ino, path.read_text()) for path in files.iterdir()}


def test_a_file_with_text_after_it_is_kept_beside_the_root_and_used_again(trap: Stage) -> None:
    trap.output("true")
    before = copies(trap)
    assert len(before) == 2  # passwd and group
    assert [trap.output("true") for _ in range(3)] == [""] * 3
    assert copies(trap) == before
    trap.file("ROOT/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    assert trap.output("grep", "-c", "", "/etc/passwd") == "2\n"
    assert copies(trap).items() > before.items()


def test_a_copy_that_somebody_changed_is_made_anew(trap: Stage) -> None:
    shown = trap.output("cat", "/etc/passwd", "/etc/group")
    files = Path(trap.container.directory) / FILES
    for spoil in (
        lambda path: path.write_text("evil:x:0:0::/:/bin/sh\n"),
        lambda path: path.write_text(""),
        lambda path: path.chmod(0o777),
        lambda path: (path.unlink(), path.symlink_to("/etc/shadow")),
    ):
        for path in files.iterdir():
            spoil(path)
        assert trap.output("cat", "/etc/passwd", "/etc/group") == shown


def test_a_file_with_text_after_it_is_one_file_to_whoever_compares(trap: Stage) -> None:
    """As cp(1) does, which refuses a file that is another after it has opened it."""
    (trap.root / "bin/stat").symlink_to("busybox")
    script = "exec 9</etc/passwd; stat -L -c '%i %s' /etc/passwd /proc/self/fd/9"
    by_name, by_descriptor = trap.output("sh", "-c", script).splitlines()
    assert by_name == by_descriptor


def test_a_file_with_text_after_it_cannot_be_changed(trap: Stage) -> None:
    result = trap.run("sh", "-c", "echo x >> /etc/passwd; rm -f /etc/passwd; cat /etc/passwd")
    assert b"Read-only file system" in result.err
    assert result.out.startswith(b"root:x:0:0:")
    assert b"\nx\n" not in result.out


def test_where_the_container_is_not_the_callers_the_copies_are_elsewhere(trap: Stage) -> None:
    need_root()
    trap.output("true")  # which makes the mount points
    directory = Path(trap.container.directory)
    shutil.rmtree(directory / FILES)
    directory.chmod(0o755)
    os.chown(directory, 0, 0)
    uid = caller()[0]
    assert f":x:{uid}:" in trap.output("cat", "/etc/passwd")
    assert not (directory / FILES).exists()


def test_a_directory_in_tmp_that_is_somebody_elses_is_not_used(trap: Stage) -> None:
    need_root()
    uid = 64987  # nobody's
    place = Path(f"/tmp/udocker-{uid}")
    place.mkdir(mode=0o777)
    try:
        launch = Launch(
            (trap.plan("true").argv[0], "--root", str(trap.root), "--scratch", "/tmp", "--", "true"), {}, "/"
        )
        result = trap.finish(launch, user=uid, group=uid, extra_groups=[])
        assert result.status == 125
        assert result.err.startswith(
            f"udocker: run: {place}: is not a directory of this user alone (".encode()
        )
        assert result.err.count(b"\n") == 1
        assert list(place.iterdir()) == []
    finally:
        shutil.rmtree(place)


# ---- directories of a run ----


def runs_of(pid: int) -> list[Path]:
    return list(Path(f"/tmp/udocker-{caller()[0]}").glob(f"run-*-{pid}-*"))


def test_a_scratch_directory_is_empty_and_hides_what_was_there(trap: Stage) -> None:
    trap.file("ROOT/data/seed")
    script = "ls -a /data; echo mine > /data/file; cat /data/file; cd /data; pwd"
    assert run(trap, script, "--scratch", "/data") == Result(0, b".\n..\nmine\n/data\n", b"")
    assert sorted(path.name for path in (trap.root / "data").iterdir()) == ["seed"]


def test_a_scratch_directory_ends_with_its_run_even_if_that_is_killed(trap: Stage) -> None:
    script = "mkdir /data/deep; echo x > /data/deep/file; chmod 0 /data/deep; echo ready; sleep 60"
    (trap.root / "bin/mkdir").symlink_to("busybox")
    (trap.root / "bin/chmod").symlink_to("busybox")
    launch = with_options(trap.plan("sh", "-c", script), "--scratch", "/data")
    with trap.start(launch, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert run(trap, "ls /data", "--scratch", "/data") == Result(0, b"", b"")
        assert len(runs_of(process.pid)) == 1
        process.send_signal(signal.SIGKILL)
    assert run(trap, "true", "--scratch", "/data") == Result(0, b"", b"")
    assert runs_of(process.pid) == []


def test_what_is_no_directory_of_a_run_is_left_alone(trap: Stage) -> None:
    run(trap, "true", "--scratch", "/data")
    place = Path(f"/tmp/udocker-{caller()[0]}")
    others = [place / "run-1-2", place / "run-1-2-3x", place / "run-1-999999999-3"]
    for other in others:
        other.mkdir()
    try:
        run(trap, "true", "--scratch", "/data")
        assert all(other.exists() for other in others)
    finally:
        for other in others:
            other.rmdir()


def test_a_deep_tree_is_removed_as_well(trap: Stage) -> None:
    (trap.root / "bin/mkdir").symlink_to("busybox")
    script = "cd /data; i=0; while [ $i -lt 300 ]; do mkdir d f-$i; cd d; i=$((i+1)); done; echo $$"
    result = run(trap, script, "--scratch", "/data")
    assert (result.status, result.err) == (0, b"")
    assert len(runs_of(int(result.out))) == 1
    run(trap, "true", "--scratch", "/data")
    assert runs_of(int(result.out)) == []


# ---- limits ----


def test_more_places_than_there_is_room_for_are_told(trap: Stage) -> None:
    mounts = tuple(Mount(str(trap.host), f"/many/{number}") for number in range(300))
    assert trap.output("ls", "/many/239", mounts=mounts[:240]) == ""
    result = trap.run("true", mounts=mounts)
    assert result.status == 125
    assert b": more binds, or longer paths of theirs, than this execution mode has room for (" in result.err
    assert result.err.count(b"\n") == 1
