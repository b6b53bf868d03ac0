"""Users from a container's own files, which an attacker may have written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from udocker.engine.base import Identity
from udocker.errors import StoreCorrupt, UdockerError, UsageError
from udocker.run.identity import ID_MAX, SIZE_MAX, resolve_identity

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
nonsense
:x:1:1::/nameless:
alice:x:1234:2345:Alice:/home/alice:/bin/sh
twice:x:7:7::/first:
twice:x:8:8::/second:
huge:x:99999999999999999999:1::/:
negative:x:-1:1::/:
letters:x:abc:1::/:
short:x:55:56
relative:x:57:57::home:
caf\xe9:x:60:61::/home/caf\xe9:
1234567:x:90:90::/digits:
"""
GROUP = b"root:x:0:\nstaff:x:50:alice\nbad:x:x:\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_bytes(PASSWD)
    (tmp_path / "etc/group").write_bytes(GROUP)
    return tmp_path


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Identity(0, 0, "/root", "root")),
        ("root", Identity(0, 0, "/root", "root")),
        ("alice", Identity(1234, 2345, "/home/alice", "alice")),
        ("1234", Identity(1234, 2345, "/home/alice", "alice")),
        ("alice:staff", Identity(1234, 50, "/home/alice", "alice")),
        ("alice:7", Identity(1234, 7, "/home/alice", "alice")),
        (":staff", Identity(0, 50, "/root", "root")),
        ("4321", Identity(4321, 0, "/", "")),
        ("4321:77", Identity(4321, 77, "/", "")),
        ("twice", Identity(7, 7, "/first", "twice")),
        ("short", Identity(55, 56, "/", "short")),
        ("relative", Identity(57, 57, "/", "relative")),
        ("1234567", Identity(1234567, 0, "/", "")),
        (os.fsdecode(b"caf\xe9"), Identity(60, 61, os.fsdecode(b"/home/caf\xe9"), os.fsdecode(b"caf\xe9"))),
    ],
)
def test_user_is_found_by_dockers_rules(root: Path, user: str, expected: Identity) -> None:
    assert resolve_identity(root, user) == expected


@pytest.mark.parametrize(
    "user", ["mallory", "huge", "letters", "negative", "alice:wheel", "alice:bad", "alice:"]
)
def test_unknown_names_are_refused(root: Path, user: str) -> None:
    with pytest.raises(UsageError):
        resolve_identity(root, user)


@pytest.mark.parametrize("user", [str(ID_MAX + 1), "4294967295", "9" * 5000, "1:4294967296", "\u0661"])
def test_numbers_out_of_range_are_refused(root: Path, user: str) -> None:
    with pytest.raises(UsageError):
        resolve_identity(root, user)


def test_root_without_any_files_is_fine(tmp_path: Path) -> None:
    assert resolve_identity(tmp_path, "") == Identity(0, 0, "/", "")
    with pytest.raises(UsageError, match="'alice'"):
        resolve_identity(tmp_path, "alice")


def test_symlinked_passwd_is_read_inside_the_container_only(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "passwd"
    outside.write_text("thief:x:1:1::/:\n")
    (root / "etc/passwd").unlink()
    for link in (str(outside), os.path.relpath(outside, root / "etc"), "../" * 30 + str(outside)):
        (root / "etc/passwd").symlink_to(link)
        with pytest.raises(UsageError):
            resolve_identity(root, "thief")
        (root / "etc/passwd").unlink()


def test_absolute_symlink_leads_to_the_containers_file(root: Path) -> None:
    (root / "etc/passwd").rename(root / "users")
    (root / "etc/passwd").symlink_to("/users")
    assert resolve_identity(root, "alice").uid == 1234


def test_passwd_that_is_no_file_is_refused(root: Path) -> None:
    (root / "etc/passwd").unlink()
    os.mkfifo(root / "etc/passwd")
    with pytest.raises(StoreCorrupt, match="not a regular file"):
        resolve_identity(root, "alice")


def test_endless_passwd_is_refused(root: Path) -> None:
    with (root / "etc/passwd").open("wb") as stream:
        stream.truncate(SIZE_MAX * 1000)
    with pytest.raises(StoreCorrupt, match="larger"):
        resolve_identity(root, "alice")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(
    passwd=st.lists(st.sampled_from([b"a", b":", b"\n", b"0", b"7", b"\xff", b"\0", b"x:1:2::/h:"])).map(
        b"".join
    ),
    user=st.text(alphabet="a07x:\n", max_size=6),
)
def test_no_passwd_file_breaks_the_reader(root: Path, passwd: bytes, user: str) -> None:
    (root / "etc/passwd").write_bytes(passwd)
    try:
        found = resolve_identity(root, user)
    except UdockerError:
        return
    assert 0 <= found.uid <= ID_MAX
    assert found.home.startswith("/")
    assert "\0" not in found.home
