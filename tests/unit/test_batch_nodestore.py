"""Copies of containers on a node: bounded, evicted when nobody uses them, whoever was killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.waiting import wait_until
from udocker import api
from udocker_batch.cli import main
from udocker_batch.errors import BatchError
from udocker_batch.nodestore import Lease, NodeStore, node_place

IDS = [f"{number:08d}-0000-0000-0000-000000000000" for number in range(5)]
MIB = 1 << 20

# Leases a copy, starts a program that outlives it, and waits.
HOLDER = """
import subprocess, sys
from pathlib import Path
from udocker import api
from udocker_batch.nodestore import NodeStore
node = NodeStore(api.Config(udocker_dir="/none"), Path(sys.argv[1]))
node.create()
node.lease(sys.argv[2])
program = subprocess.Popen(["sleep", "60"], close_fds=False)
print(program.pid, flush=True)
sys.stdin.read()
"""


def store(tmp_path: Path, limit: int = 0) -> NodeStore:
    node = NodeStore(api.Config(udocker_dir="/none", node_max=limit), tmp_path)
    node.create()
    return node


def copy(node: NodeStore, container: str, size: int) -> Lease:
    """A copy as staging makes one; its lease."""
    lease = node.lease(container)
    node.make_room(container, size)
    root = node.directory / "containers" / container / "ROOT"
    root.mkdir(parents=True)
    (root / "file").write_bytes(b"x")
    return lease


def leave(node: NodeStore, container: str, size: int, age: float = 0) -> None:
    """A copy that was used until ``age`` seconds ago."""
    copy(node, container, size).close()
    grow_old(node, container, age)


def grow_old(node: NodeStore, container: str, age: float) -> None:
    path = node.directory / "use" / container
    used = path.stat().st_mtime - age
    os.utime(path, (used, used))


def ids(node: NodeStore) -> list[str]:
    return sorted(path.name for path in (node.directory / "containers").iterdir())


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeStore]:
    yield store(tmp_path, 100 * MIB)


def test_the_one_that_was_not_used_for_longest_goes_first(node: NodeStore) -> None:
    for container, age in ((IDS[0], 10), (IDS[1], 30), (IDS[2], 20)):
        leave(node, container, 30 * MIB, age)
    leave(node, IDS[3], 30 * MIB)
    assert ids(node) == [IDS[0], IDS[2], IDS[3]]
    leave(node, IDS[4], 60 * MIB)
    assert ids(node) == [IDS[3], IDS[4]]
    assert [(found.container, found.size) for found in node.copies()] == [
        (IDS[3], 30 * MIB),
        (IDS[4], 60 * MIB),
    ]


def test_what_is_in_use_stays_and_what_does_not_fit_beside_it_is_refused(node: NodeStore) -> None:
    used = copy(node, IDS[0], 60 * MIB)
    grow_old(node, IDS[0], 99)
    leave(node, IDS[1], 30 * MIB)
    with pytest.raises(BatchError, match="no room for 50 MiB: 100 MiB may be used, and 60 MiB are in use"):
        node.make_room(IDS[2], 50 * MIB)
    assert ids(node) == [IDS[0]]
    node.make_room(IDS[2], 50 * MIB, guessed=True)
    used.close()
    leave(node, IDS[3], 50 * MIB)
    assert IDS[0] not in ids(node)


def test_starting_to_use_a_copy_makes_it_the_youngest(node: NodeStore) -> None:
    leave(node, IDS[0], 50 * MIB, 99)
    leave(node, IDS[1], 40 * MIB, 50)
    node.lease(IDS[0]).close()
    leave(node, IDS[2], 50 * MIB)
    assert ids(node) == [IDS[0], IDS[2]]


def test_a_copy_is_used_until_the_last_program_ends_that_inherited_it(tmp_path: Path) -> None:
    node = store(tmp_path)
    leave(node, IDS[0], MIB)
    command = [sys.executable, "-c", HOLDER, str(tmp_path), IDS[0]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        program = int(holder.stdout.readline())
        assert not node.evict(IDS[0])
        holder.kill()
    assert not node.evict(IDS[0])
    os.kill(program, signal.SIGKILL)
    wait_until(lambda: node.evict(IDS[0]), "the eviction", timeout=10, every=0.01)
    assert ids(node) == []
    assert node.copies() == []


def test_what_was_left_half_made_counts_and_goes(node: NodeStore) -> None:
    lease = node.lease(IDS[0])
    half = node.directory / "tmp" / f"stage-{IDS[0]}-g1" / "create-x" / "ROOT"
    half.mkdir(parents=True)
    (half / "file").write_bytes(b"x" * MIB)
    lease.close()
    [found] = node.copies()
    assert found.size >= MIB
    assert node.evict(IDS[0])
    assert not half.exists()
    assert node.copies() == []


def test_a_reservation_of_a_dead_one_goes(node: NodeStore) -> None:
    lease = node.lease(IDS[0])
    node.make_room(IDS[0], 80 * MIB)
    with pytest.raises(BatchError, match="no room"):
        node.make_room(IDS[1], 80 * MIB)
    lease.close()
    node.make_room(IDS[1], 80 * MIB)


def test_without_a_bound_the_disk_is_one(tmp_path: Path) -> None:
    node = store(tmp_path)
    free = os.statvfs(tmp_path)
    with pytest.raises(BatchError, match="no room"):
        node.make_room(IDS[0], free.f_bavail * free.f_frsize)
    node.make_room(IDS[0], MIB)


def test_sweeping_takes_what_nobody_used_for_so_long(node: NodeStore) -> None:
    leave(node, IDS[0], MIB, 100)
    leave(node, IDS[1], MIB, 10)
    kept = copy(node, IDS[2], MIB)
    grow_old(node, IDS[2], 100)
    assert [found.container for found in node.sweep(60)] == [IDS[0]]
    assert ids(node) == [IDS[1], IDS[2]]
    kept.close()


def test_an_earlier_boots_copies_go_and_another_hosts_stay(tmp_path: Path) -> None:
    node = store(tmp_path)
    above = node.directory.parent
    earlier = above / f"{os.uname().nodename}.11111111-1111-1111-1111-111111111111"
    other = above / f"{os.uname().nodename}.domain.11111111-1111-1111-1111-111111111111"
    for path in (earlier, other):
        (path / "containers").mkdir(parents=True)
    node.create()
    assert not earlier.exists()
    assert other.exists()


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_directory_that_others_can_look_into_or_write_in_is_refused(tmp_path: Path, mode: int) -> None:
    place = tmp_path / f"udocker-stage-{os.geteuid()}"
    place.mkdir()
    place.chmod(mode)
    with pytest.raises(BatchError, match="not a directory of this user alone"):
        store(tmp_path)


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / f"udocker-stage-{os.geteuid()}").symlink_to("elsewhere")
    with pytest.raises(BatchError, match="not a directory of this user alone"):
        store(tmp_path)


@pytest.mark.parametrize("mode", [0o755, 0o707])
def test_what_others_can_get_into_is_never_looked_at(node: NodeStore, mode: int) -> None:
    place = node.directory.parent
    place.chmod(mode)
    with pytest.raises(BatchError, match="not a directory of this user alone"):
        node.exists()
    place.rename(place.with_name("aside"))
    assert not node.exists()


def test_the_place_is_the_one_that_is_set_or_the_jobs_own_or_tmp(tmp_path: Path) -> None:
    config = api.Config(udocker_dir="/none")
    job, login = tmp_path / "job", tmp_path / "login"
    job.mkdir()
    login.mkdir()
    environ = {"SLURM_TMPDIR": str(job), "TMPDIR": str(login)}
    assert node_place(api.Config(udocker_dir="/none", node_dir="/disk"), environ) == Path("/disk")
    assert node_place(config, environ) == job
    assert node_place(config, {"SLURM_TMPDIR": "/no/such", "TMPDIR": str(login)}) == login
    assert node_place(config, {"TMPDIR": "relative"}) == Path("/tmp")


def test_the_command_lists_and_removes_what_nobody_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = tmp_path / "shared"
    archive = shared / "batch" / "staged" / f"{IDS[0]}.tar.zst"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"x")
    for name, value in {"UDOCKER_DIR": str(shared), "UDOCKER_NODE_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    node = store(tmp_path)
    kept = copy(node, IDS[0], MIB)
    grow_old(node, IDS[0], 10)
    leave(node, IDS[1], 2 * MIB)
    assert main(["stage", "list", "--shared"]) == 0
    lines = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [[IDS[0], str(MIB)], [IDS[1], str(2 * MIB)], [IDS[0], "1"]]
    assert main(["stage", "clean", "--user", str(os.geteuid())]) == 0
    assert capsys.readouterr().out == f"{IDS[1]} removed\n"
    assert ids(node) == [IDS[0]]
    kept.close()
    assert main(["stage", "clean", "--unused", "3600", "--shared"]) == 0
    assert (ids(node), archive.exists()) == ([IDS[0]], False)
    assert main(["stage", "clean", "--user", "no-such-user"]) == 125


@pytest.mark.parametrize("words", [["stage", "clean", "--unused"], ["wait", "1", "--timeout"]])
@pytest.mark.parametrize("text", ["x", "nan", "-1", "1e99"])
def test_what_is_no_time_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    assert main([*words[:-1], f"{words[-1]}={text}"]) == 125
    assert f"argument {words[-1]}: {text!r}: not a number of seconds" in capsys.readouterr().err


def test_there_is_nothing_to_clean_where_nothing_was_staged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"UDOCKER_DIR": str(tmp_path), "UDOCKER_NODE_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    assert main(["stage", "clean", "--shared"]) == 0
    assert main(["stage", "list", "--shared"]) == 0
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_copy_counts_as_used_until_its_lease_ends(node: NodeStore) -> None:
    lease = copy(node, IDS[0], MIB)
    grow_old(node, IDS[0], 100)
    lease.close()
    assert node.sweep(60) == []


def test_a_disk_that_fails_at_the_end_of_a_lease_costs_the_task_nothing(
    node: NodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = copy(node, IDS[0], MIB)

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "utime", fail)
        lease.close()
    assert node.evict(IDS[0])


def test_a_disk_on_which_nothing_can_run_is_refused(node: NodeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    node.require_executable()
    info = os.statvfs(node.directory)
    noexec = os.statvfs_result((*info[:8], info.f_flag | os.ST_NOEXEC, *info[9:]))
    monkeypatch.setattr(os, "statvfs", lambda _: noexec)
    with pytest.raises(BatchError, match="noexec"):
        node.require_executable()


def test_a_place_that_is_not_there_is_told_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(api.StoreError) as told:
        store(tmp_path / "none")
    assert "UDOCKER_NODE_DIR" in told.value.hint
