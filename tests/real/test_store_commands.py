"""Names, copies, tags, protection and verification by udocker's commands, as an ordinary user."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.real.commands import Commands, unfinished
from tests.services.base_images import PushedImage
from udocker.cli.main import COMMANDS


@pytest.fixture
def box(udocker: Commands, busybox_image: PushedImage) -> str:
    """The id of a container of the name ``box``."""
    return udocker.good("create", "--name=box", busybox_image.reference).strip()


def names(udocker: Commands) -> dict[str, str]:
    """Every name and what its link holds."""
    directory = udocker.store / "containers"
    return {path.name: os.readlink(path) for path in directory.iterdir() if path.is_symlink()}


def containers(udocker: Commands) -> list[list[str]]:
    """The columns of ps, a list a container."""
    return [line.split() for line in udocker.good("ps").splitlines()[1:]]


def test_names_are_given_changed_and_taken_away(udocker: Commands, box: str) -> None:
    assert udocker.good("name", box, "second") == ""
    assert udocker.good("name", "second", "third") == ""
    assert names(udocker) == {"box": box, "second": box, "third": box}  # relative links, as udocker 1.3 reads
    assert udocker.good("rename", "third", "last") == ""
    assert udocker.good("rmname", "second") == "second\n"
    assert names(udocker) == {"box": box, "last": box}
    assert udocker.good("run", "last", "echo", "hi") == "hi\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["name", "nosuch", "x"], "not here"),
        (["name", "box", "a/b"], "not a container name"),
        (["name", "box", "box"], "already taken"),
        (["name", "box"], "see udocker name --help"),
        (["rmname", "nosuch"], "no container has it"),
        (["rmname", "../containers"], "no container has it"),
        (["rename", "nosuch", "x"], "no container has it"),
        (["rename", "box", "box"], "already taken"),
        (["rename", "box", "x.y"], "not a container name"),
        (["clone", "nosuch"], "not here"),
        (["clone", "--name=box", "box"], "already taken"),
        (["clone", "--name=a b", "box"], "not a container name"),
        (["protect", "nosuch"], "no container or image"),
        (["unprotect", "No/Such"], "no container or image"),
        (["verify", "nosuch"], "no container or image"),
        (["verify", ""], "no container or image"),
        (["tag", "nosuch", "x"], "not here"),
        (["tag", "nosuch", "X"], "repository name"),
        (["mkrepo", "/"], "already exists"),
        (["mkrepo", "/proc/x/y"], "mkrepo"),
    ],
)
def test_bad_arguments_are_one_clear_line(
    udocker: Commands, box: str, arguments: list[str], words: str
) -> None:
    assert words in udocker.bad(*arguments)
    assert names(udocker) == {"box": box}


def test_an_id_is_no_name_to_take_away(udocker: Commands, box: str) -> None:
    assert "no container has it" in udocker.bad("rmname", box)
    assert "no container has it" in udocker.bad("rename", box, "other")


def test_the_name_of_a_container_that_is_gone_can_be_taken_away(udocker: Commands, box: str) -> None:
    os.symlink("8f0d6d3c-2f43-4b38-9c4e-7f6c19a0f1de", udocker.store / "containers" / "stale")
    assert "not here" in udocker.bad("rename", "stale", "new")
    assert udocker.good("rmname", "stale") == "stale\n"
    assert names(udocker) == {"box": box}


def test_a_clone_has_what_was_written_and_lives_its_own_life(udocker: Commands, box: str) -> None:
    script = (
        "echo one > /etc/note; mkdir -p /d/e; ln /etc/note /d/e/hard; ln -s /etc/note /soft; chmod 0 /d/e"
    )
    udocker.good("run", "box", "sh", "-c", script)
    copied = udocker.good("clone", "--name=copy", "box").strip()
    assert names(udocker) == {"box": box, "copy": copied}
    udocker.good("run", "copy", "sh", "-c", "echo two > /soft")
    assert udocker.good("run", "copy", "cat", "/d/e/hard") == "two\n"
    assert udocker.good("run", "box", "cat", "/d/e/hard") == "one\n"
    for name in ("box", "copy"):
        assert udocker.good("run", name, "stat", "-c", "%a %h", "/d/e", "/etc/note") == "0 2\n644 2\n"
    assert udocker.good("rm", "box") == f"{box}\n"
    assert udocker.good("run", "copy", "cat", "/etc/note") == "two\n"
    assert unfinished(udocker.store) == []


def test_a_protected_container_stays_until_it_is_unprotected(udocker: Commands, box: str) -> None:
    assert udocker.good("protect", "box") == ""
    assert containers(udocker)[0][1] == "P"
    assert "protected" in udocker.bad("rm", "box")
    assert "protected" in udocker.bad("rm", "-f", box)
    copied = udocker.good("clone", "box").strip()
    assert udocker.good("rm", copied) == f"{copied}\n"
    assert udocker.good("unprotect", box) == ""
    assert containers(udocker)[0][1] == "."
    assert udocker.good("rm", "box") == f"{box}\n"


def test_a_protected_image_stays_until_it_is_unprotected(
    udocker: Commands, busybox_image: PushedImage
) -> None:
    reference = busybox_image.reference
    udocker.good("pull", reference)
    assert udocker.good("protect", reference) == ""
    assert udocker.good("images") == f"REPOSITORY\n{reference}    P\n"
    assert "protected" in udocker.bad("rmi", reference)
    assert "protected" in udocker.bad("rmi", "-f", reference)
    assert udocker.good("unprotect", reference) == ""
    assert udocker.good("rmi", reference) == f"{reference}\n"


def test_a_tag_is_an_image_of_its_own(udocker: Commands, busybox_image: PushedImage) -> None:
    reference = busybox_image.reference
    udocker.good("pull", reference)
    blobs = sorted((udocker.store / "layers").iterdir())
    assert udocker.good("tag", reference, "mine/box:2") == ""
    assert sorted((udocker.store / "layers").iterdir()) == blobs
    assert udocker.good("images").splitlines()[1:] == sorted([f"{reference}    .", "mine/box:2    ."])
    assert "already there" in udocker.bad("tag", reference, "mine/box:2")
    udocker.good("rmi", reference)
    assert udocker.good("verify", "mine/box:2") == "mine/box:2: ok\n"
    assert udocker.good("run", "--rm", "mine/box:2", "echo", "hi") == "hi\n"
    udocker.good("rmi", "mine/box:2")
    assert list((udocker.store / "layers").iterdir()) == []


def test_verify_tells_each_damaged_file(udocker: Commands, busybox_image: PushedImage) -> None:
    reference = busybox_image.reference
    udocker.good("pull", reference)
    assert udocker.good("verify", reference) == f"{reference}: ok\n"
    blobs = list((udocker.store / "layers").iterdir())
    for path in blobs:
        path.write_bytes(b"\1" * path.stat().st_size)
    message = udocker.bad("verify", reference)
    assert all(f"{path}: its content has another digest" in message for path in blobs)
    for path in blobs:
        path.unlink()
    assert "missing" in udocker.bad("verify", reference)
    udocker.good("pull", reference)
    assert udocker.good("-q", "verify", reference) == ""


def test_verify_checks_a_containers_metadata(udocker: Commands, box: str) -> None:
    assert udocker.good("verify", "box") == "box: ok\n"
    (udocker.store / "containers" / box / "container.json").write_text("{")
    assert "container.json: image configuration: not JSON" in udocker.bad("verify", "box")


def test_mkrepo_makes_an_empty_store(udocker: Commands) -> None:
    new = udocker.store.parent / "new" / "repo"
    assert udocker.good("mkrepo", str(new)) == ""
    assert {"bin", "containers", "layers", "lib", "repos"} <= {path.name for path in new.iterdir()}
    assert new.stat().st_mode & 0o777 == 0o700
    assert replace(udocker, store=new).good("images") == "REPOSITORY\n"
    assert "already exists" in udocker.bad("mkrepo", str(new))
    assert not udocker.store.exists()


def test_showconf_prints_the_settings_in_force(udocker: Commands) -> None:
    env = {"UDOCKER_INSECURE_REGISTRIES": "b:1, a:2", "UDOCKER_LOCK_WAIT": "7"}
    lines = udocker.good("showconf", env=env).splitlines()
    assert f"udocker_dir = {udocker.store}" in lines
    assert "insecure_registries = a:2,b:1" in lines
    assert "lock_wait = 7.0" in lines


def test_avail_tells_which_engines_work_here(udocker: Commands) -> None:
    lines = udocker.good("avail").splitlines()
    assert [line.split() for line in lines[1:]] == [[mode, "yes"] for mode in ("T2", "R1", "T1", "P1", "P2")]


def test_avail_tells_why_an_engine_does_not_work(udocker: Commands) -> None:
    """A name space in which no further one may be made stands for a host that forbids them."""
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    command = ["unshare", "--map-root-user", "sh", "-c", script, "sh"]
    result = udocker.user.run([*command, udocker.programs / "udocker", "avail"], check=True)
    assert result.stdout.splitlines()[1].split() == ["T2", "yes"]
    assert result.stdout.splitlines()[2].startswith("R1         no: ")
    assert "user namespace" in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(udocker: Commands, command: str) -> None:
    assert f"usage: udocker {command}" in udocker.good(command, "--help")


def test_the_store_stays_as_it_was_where_a_clone_cannot_be_written(udocker: Commands, box: str) -> None:
    tmp: Path = udocker.store / "tmp"
    udocker.user.run(["chmod", "555", tmp], check=True)
    assert "Permission denied" in udocker.bad("clone", "box")
    assert [line[0] for line in containers(udocker)] == [box]
