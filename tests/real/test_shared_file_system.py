"""What the shared file system of these tests does, so that the tests on it mean something."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.faultfs import SPACE, Fault
from tests.services.sharedfs import Node, nodes
from tests.services.sharing import session_directory
from tests.services.users import User

LOCK = """
import fcntl, sys
with open(sys.argv[1], "a") as file:
    (fcntl.lockf if sys.argv[2] == "fcntl" else fcntl.flock)(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    with session_directory("sharedfs") as directory:
        yield directory


@pytest.fixture
def two(user1: User, place: Path) -> Iterator[tuple[Node, Node]]:
    with nodes(user1, place, count=2) as (first, second):
        yield first, second


def shell(node: Node, user: User, script: str) -> str:
    done = node.run(user, ["sh", "-c", f"cd {node.shared}; {script}"])
    return (done.stdout + done.stderr).strip()


def test_a_node_does_not_see_what_it_has_just_missed(two: tuple[Node, Node], user1: User) -> None:
    first, second = two
    assert "No such file" in shell(second, user1, "cat x")
    assert shell(second, user1, "hostname") == "node2"
    shell(first, user1, "echo new > x")
    assert "No such file" in shell(second, user1, "cat x")
    assert shell(second, user1, "ls") == "x"
    assert shell(second, user1, "mkdir x 2> /tmp/refused; cat x") == "new"


def test_a_node_keeps_attributes(two: tuple[Node, Node], user1: User) -> None:
    first, second = two
    shell(first, user1, "echo 1 > x")
    assert shell(second, user1, "stat -c %s x") == "2"
    shell(first, user1, "echo 22 > x")
    assert shell(second, user1, "stat -c %s x") == "2"


@pytest.mark.parametrize("kind", ["flock", "fcntl"])
def test_locks_are_the_nodes_own(two: tuple[Node, Node], user1: User, kind: str) -> None:
    command = ["/usr/bin/python3", "-c", LOCK, str(two[0].shared / "lock"), kind]
    with two[0].popen(user1, command, stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert two[0].run(user1, command).returncode != 0
        assert two[1].run(user1, command).stdout == "held\n"
        holder.communicate("")


def test_operations_on_metadata_are_counted_by_kind(two: tuple[Node, Node], user1: User) -> None:
    shell(two[0], user1, "cat x")
    two[0].disk.clear()
    shell(two[0], user1, "mkdir d; echo 1 > d/x; mv d/x d/y; rm d/y")
    met = two[0].disk.met()
    wanted = {"mkdir": 1, "create": 1, "write": 1, "rename": 1, "unlink": 1}
    assert {kind: met.operations.get(kind) for kind in wanted} == wanted
    assert met.metadata == sum(met.operations.values()) - met.operations["write"]
    assert two[1].disk.met().operations.get("mkdir") is None


@pytest.mark.parametrize("error", [errno.ESTALE, errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_fault_is_one_nodes(two: tuple[Node, Node], user1: User, error: int) -> None:
    # The kernel asks once again after ESTALE.
    two[0].disk.set(Fault(error, SPACE, count=2))
    assert shell(two[0], user1, "mkdir d || exit 1") != ""
    assert shell(two[1], user1, "mkdir e") == ""


def test_a_mount_that_is_lost_is_lost_to_its_node_alone(two: tuple[Node, Node], user1: User) -> None:
    two[0].disk.lose()
    assert "Transport endpoint is not connected" in shell(two[0], user1, f"ls {two[0].shared}")
    assert shell(two[1], user1, "mkdir d && ls") == "d"
