"""udocker's commands against a real registry, as an ordinary user."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.real.commands import Commands, unfinished
from tests.services.base_images import PushedImage
from tests.services.faulty_registry import Answer, FaultyRegistry, Request, cut, drop, errors, more, status
from tests.services.images import Blob, ImageBuilder, file
from tests.services.sharing import session_directory
from tests.services.users import User


def test_pull_create_run_and_remove(udocker: Commands, busybox_image: PushedImage) -> None:
    reference = busybox_image.reference
    assert udocker.good("pull", reference) == f"{reference}: {busybox_image.digest}\n"
    container = udocker.good("create", "--name=box", reference).strip()
    assert udocker.good("run", "box", "echo", "hello  world") == "hello  world\n"
    assert udocker.good("run", container, "sh", "-c", "echo $0 $1", "a", "-b") == "a -b\n"
    assert udocker.good("images") == f"REPOSITORY\n{reference}    .\n"
    assert udocker.good("ps").splitlines()[1].split() == [container, ".", "W", "['box']", reference]
    assert json.loads(udocker.good("inspect", "box"))["config"]["Cmd"] == ["/bin/sh"]
    assert udocker.good("inspect", "-p", "box").strip().endswith(f"{container}/ROOT")
    assert json.loads(udocker.good("inspect", reference))["digest"] == busybox_image.digest
    assert udocker.good("rm", "box") == f"{container}\n"
    assert udocker.good("rmi", reference) == f"{reference}\n"
    assert udocker.good("images") == "REPOSITORY\n"
    assert len(udocker.good("ps").splitlines()) == 1
    assert list((udocker.store / "layers").iterdir()) == []
    assert unfinished(udocker.store) == []


def test_a_debian_image_of_three_kinds_of_layers_runs_python(
    udocker: Commands, debian_image: PushedImage
) -> None:
    udocker.good("create", "--name=deb", debian_image.reference)
    program = "import os, sys; print(sys.version_info[0], os.getuid(), os.path.exists('/etc/debian_version'))"
    assert udocker.good("run", "deb", "python3", "-c", program) == "3 0 True\n"


def test_an_image_is_pulled_by_run_where_it_is_missing(udocker: Commands, busybox_image: PushedImage) -> None:
    result = udocker("run", "--rm", "--name=once", busybox_image.reference, "echo", "hi", check=True)
    assert result.stdout == "hi\n"
    assert "once" not in udocker.good("ps")


def test_blobs_that_were_truncated_are_fetched_again(udocker: Commands, busybox_image: PushedImage) -> None:
    udocker.good("pull", busybox_image.reference)
    for blob in (udocker.store / "layers").iterdir():
        os.truncate(blob, 1)
    assert udocker.good("run", busybox_image.reference, "echo", "whole") == "whole\n"
    assert_nothing_half_written(udocker.store / "layers")


@pytest.mark.parametrize("name", ["two words", "two\nlines", "caf\xe9", "\udcff"])
def test_a_store_may_have_any_name(udocker: Commands, busybox_image: PushedImage, name: str) -> None:
    odd = replace(udocker, store=udocker.store.with_name(name))
    odd.good("create", "--name=box", busybox_image.reference)
    assert odd.good("run", "box", "echo", "hi") == "hi\n"
    script = 'test -d "$("$1" inspect -p box)"'  # the path comes out byte for byte
    command = ["sh", "-c", script, "sh", udocker.programs / "udocker"]
    udocker.user.run(command, env={"UDOCKER_DIR": str(odd.store)}, check=True)
    odd.good("rm", "box")
    odd.good("rmi", busybox_image.reference)


def test_a_run_that_cannot_start_leaves_no_container_with_rm(
    udocker: Commands, busybox_image: PushedImage
) -> None:
    udocker.bad("run", "--rm", "--name=once", "--user=0:no-such-group", busybox_image.reference, "true")
    assert len(udocker.good("ps").splitlines()) == 1


def test_an_entry_point_with_an_open_quotation_is_one_clear_line(udocker: Commands) -> None:
    assert "No closing quotation" in udocker.bad("run", "--entrypoint", "'sh", "box")


def test_options_of_run_reach_the_program(udocker: Commands, busybox_image: PushedImage) -> None:
    udocker.good("create", "--name=box", busybox_image.reference)
    data = udocker.user.home / "data dir"
    data.mkdir(exist_ok=True)
    os.chown(data, udocker.user.uid, udocker.user.gid)
    script = 'echo "$A|$B|$(pwd)|$(id -u)"; echo written > /data/file'
    arguments = ["-v", f"{data}:/data", "-e", "A=1 2", "--env=B=x=y", "-w", "/tmp", "--user", "7"]
    assert udocker.good("run", *arguments, "box", "sh", "-c", script) == "1 2|x=y|/tmp|7\n"
    assert (data / "file").read_text() == "written\n"
    assert (data / "file").stat().st_uid == udocker.user.uid
    read_only = udocker("run", "-v", f"{data}:/data:ro", "box", "touch", "/data/file")
    assert read_only.returncode == 1


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], -9),
        (["/etc/passwd"], 126),
        (["nosuchprogram"], 127),
        (["/no/such/program"], 127),
    ],
)
def test_the_exit_status_is_dockers(
    udocker: Commands, busybox_image: PushedImage, command: list[str], expected: int
) -> None:
    udocker.good("create", "--name=box", busybox_image.reference)
    assert udocker("run", "box", *command).returncode == expected


def test_standard_input_and_output_pass_untouched(udocker: Commands, busybox_image: PushedImage) -> None:
    udocker.good("create", "--name=box", busybox_image.reference)
    data = "".join(chr(code) for code in range(1, 256) if code != 13) * 100  # text mode would change \\r
    assert udocker.good("run", "box", "cat", input=data) == data


def test_every_command_has_help(udocker: Commands) -> None:
    listing = udocker.good("--help")
    for command in ("pull", "create", "run", "images", "ps", "inspect", "rm", "rmi", "version"):
        assert command in listing
        assert f"usage: udocker {command}" in udocker.good(command, "--help")
        assert f"usage: udocker {command}" in udocker.good("help", command)
    assert "usage: udocker run" in udocker.good("run", "-h")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["frobnicate"], "unknown command"),
        (["run"], "see udocker run --help"),
        (["run", "--no-such-option", "x"], "see udocker run --help"),
        (["help", "nosuch"], "unknown command"),
        (["pull", "Upper/Case"], "repository name"),
        (["pull", "a:b:c"], "tag"),
        (["pull", "a@sha256:12"], "digest"),
        (["pull", "--platform=lin", "a"], "platform"),
        (["run", "NoSuch/Thing"], "no such container"),
        (["rm", "nosuch"], "not here"),
        (["rm", "../.."], "not here"),
        (["rmi", "nosuch"], "not here"),
        (["inspect", "nosuch"], "no container or image"),
        (["create", "--name=a/b", "x"], "not a container name"),
        (["pull", "127.0.0.1:1/x"], "connect"),
    ],
)
def test_bad_arguments_are_one_clear_line(udocker: Commands, arguments: list[str], words: str) -> None:
    assert words in udocker.bad(*arguments)


def test_a_name_that_is_taken_is_refused_before_any_work(
    udocker: Commands, busybox_image: PushedImage
) -> None:
    first = udocker.good("create", "--name=box", busybox_image.reference).strip()
    assert "already taken" in udocker.bad("create", "--name=box", busybox_image.reference)
    assert [line.split()[0] for line in udocker.good("ps").splitlines()[1:]] == [first]


def test_a_command_is_needed_where_the_image_has_none(udocker: Commands) -> None:
    with FaultyRegistry() as registry:
        builder = ImageBuilder()
        registry.add(builder, "empty", "1", builder.image([builder.layer([file("x")])]))
        assert "no command" in udocker.bad("run", f"{registry.host}/empty:1")


def assert_nothing_half_written(store: Path) -> None:
    """Whole blobs may stay, for the next try; nothing else."""
    for path in store.rglob("*"):
        if path.is_file() and "locks" not in path.parts:
            algorithm, _, hexadecimal = path.name.partition(":")
            assert hashlib.new(algorithm, path.read_bytes()).hexdigest() == hexadecimal, path


def change_last_byte(request: Request, answer: Answer) -> Answer:
    """Content of the right size and another digest."""
    return replace(answer, body=answer.body[:-1] + bytes([answer.body[-1] ^ 1]))


LAYER = "GET .*/blobs/LAYER"  # stands for the one layer of the faulty registry's image


@dataclass(frozen=True)
class Faulty:
    """A registry that fails on order, and its image's layer."""

    registry: FaultyRegistry
    layer: Blob

    @property
    def host(self) -> str:
        return self.registry.host

    def fail(self, pattern: str, fault: Any, times: Optional[int] = None) -> None:
        self.registry.fail(pattern.replace("LAYER", self.layer.digest), fault, times=times)


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    with FaultyRegistry() as registry:
        builder = ImageBuilder()
        layer = builder.layer([file("data", random.Random(1).randbytes(200_000))])
        registry.add(builder, "team/app", "1", builder.index([builder.image([layer])]))
        other = builder.image([layer], "linux/s390x")
        registry.add(builder, "team/other", "1", builder.index([other]))
        yield Faulty(registry, layer)


@pytest.mark.parametrize(
    ("pattern", "fault", "words"),
    [
        ("GET .*/manifests/", errors(404, "MANIFEST_UNKNOWN", "manifest unknown"), "manifest unknown"),
        ("GET .*/manifests/", errors(403, "DENIED", "requested access is denied"), "denied"),
        (".*", errors(429, "TOOMANYREQUESTS", "slow down"), "429"),
        (".*", status(503), "503"),
        (".*", drop(), "connection"),
        (LAYER, change_last_byte, "digest"),
        (LAYER, more(b"and more"), "200"),
        (LAYER, cut(50), "connection"),
        (LAYER, status(404), "lost a part"),
        ("GET .*/manifests/", status(200, b"<html>login</html>"), "manifest"),
        ("GET .*/manifests/", status(200, b"\x1b[31mred"), "manifest"),
    ],
)
def test_what_a_registry_does_wrong_is_one_clear_line_and_leaves_nothing(
    udocker: Commands, faulty: Faulty, pattern: str, fault: Any, words: str
) -> None:
    faulty.fail(pattern, fault)
    message = udocker.bad("pull", f"{faulty.host}/team/app:1")
    assert words in message.lower()
    assert "\x1b" not in message
    assert udocker.good("images") == "REPOSITORY\n"
    assert_nothing_half_written(udocker.store)


def test_retry_after_is_heeded(udocker: Commands, faulty: Faulty) -> None:
    faulty.fail("GET .*/manifests/", status(429, Retry_After="1"), times=1)
    udocker.good("pull", f"{faulty.host}/team/app:1")


def test_a_cut_connection_is_resumed_where_it_broke(udocker: Commands, faulty: Faulty) -> None:
    faulty.fail(LAYER, cut(100_000), times=1)
    udocker.good("pull", f"{faulty.host}/team/app:1")
    ranges = [
        request.headers["range"]
        for request in faulty.registry.asked("GET .*/blobs/")
        if "range" in request.headers
    ]
    assert ranges == ["bytes=100000-"]


def test_an_unknown_platform_is_told_with_those_there_are(udocker: Commands, faulty: Faulty) -> None:
    assert "linux/s390x" in udocker.bad("pull", f"{faulty.host}/team/other:1")
    assert "linux/s390x" in udocker.bad("pull", "--platform=linux/sparc64", f"{faulty.host}/team/other:1")
    udocker.good("pull", "--platform=linux/s390x", f"{faulty.host}/team/other:1")
    udocker.good("rmi", f"{faulty.host}/team/other:1")
    udocker.good("create", "--platform=linux/s390x", "--name=other", f"{faulty.host}/team/other:1")
    assert "linux/s390x" in udocker.good("ps", "-p")


def test_a_registry_that_is_down_is_told(udocker: Commands) -> None:
    assert "refused" in udocker.bad("pull", "127.0.0.1:9/x")


def test_a_directory_that_cannot_be_written_is_one_clear_line(
    udocker: Commands, busybox_image: PushedImage
) -> None:
    udocker.user.run(["mkdir", "-m", "555", udocker.store], check=True)
    for reference in (busybox_image.reference, "127.0.0.1:9/x"):
        message = udocker.bad("pull", reference)
        assert f"store: {udocker.store}: Permission denied" in message
        assert "UDOCKER_DIR" in message


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(
    user1: User, udocker_bin: Path, busybox_image: PushedImage
) -> None:
    """A small file system of the user's own, in name spaces of its own."""
    with session_directory("full") as directory:
        os.chown(directory, user1.uid, user1.gid)
        script = (
            'mount -t tmpfs -o size=300k none "$1" && UDOCKER_DIR="$1/store" && export UDOCKER_DIR && '
            '"$2" pull "$3"; echo "status $?"; "$2" images; '
            'find "$UDOCKER_DIR/tmp" -mindepth 1 ! -name partial'
        )
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
        arguments = [str(directory), str(udocker_bin / "udocker"), busybox_image.reference]
        result = user1.run([*command, *arguments])
        assert "status 125" in result.stdout, result
        assert "No space left" in result.stderr
        assert result.stdout == "status 125\nREPOSITORY\n"  # no image, nothing left in tmp


def test_a_disk_that_fills_while_a_container_is_unpacked_is_one_clear_line(
    user1: User, udocker_bin: Path, busybox_image: PushedImage
) -> None:
    with session_directory("full") as directory:
        os.chown(directory, user1.uid, user1.gid)
        script = (
            'mount -t tmpfs -o size=20m none "$1" && UDOCKER_DIR="$1/store" && export UDOCKER_DIR && '
            '"$2" -q pull "$3" && (head -c 30M /dev/zero >"$1/fill" || true) && truncate -s -300K "$1/fill"; '
            '"$2" create "$3"; echo "status $?"; '
            'cd "$UDOCKER_DIR"; find containers tmp -mindepth 1 ! -name partial'
        )
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
        result = user1.run([*command, str(directory), str(udocker_bin / "udocker"), busybox_image.reference])
        assert result.stdout.split("\n", 1)[1].strip() == "status 125"  # no container, nothing left in tmp
        assert "create" in result.stderr or "unpack" in result.stderr
        assert "No space left" in result.stderr


def test_user_namespaces_that_are_off_are_one_clear_line(
    udocker: Commands, busybox_image: PushedImage
) -> None:
    """A name space in which no further one may be made stands for a host that forbids them."""
    udocker.good("create", "--name=box", busybox_image.reference)
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    env = {"UDOCKER_DIR": str(udocker.store)}
    command = ["unshare", "--map-root-user", "sh", "-c", script, "sh"]
    result = udocker.user.run(
        [*command, udocker.programs / "udocker", "run", "--execmode=R1", "box", "true"], env=env
    )
    assert result.returncode == 125, result
    assert "user namespace" in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("udocker: ")]) == 1
