"""Archives exchanged with skopeo and umoci, both ways, as an ordinary user."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.real.commands import Commands
from tests.services.base_images import PushedImage
from tests.services.needs import need_command
from tests.services.sharing import session_directory


@dataclass(frozen=True)
class Exchange:
    """A directory of the user's with an OCI layout of the tiny image, and what reads and writes it."""

    udocker: Commands
    path: Path
    image_id: str

    def skopeo(self, *arguments: str) -> str:
        program = need_command("skopeo", "skopeo")
        command = [program, "--insecure-policy", *arguments]
        return self.udocker.user.run(command, cwd=self.path, check=True).stdout

    def umoci(self, *arguments: str) -> str:
        command = [need_command("umoci", "umoci"), *arguments]
        return self.udocker.user.run(command, cwd=self.path, check=True).stdout

    def shell(self, script: str) -> str:
        """A script in which $1 is udocker."""
        program = self.udocker.programs / "udocker"
        command = ["bash", "-c", f"set -e -o pipefail; {script}", "bash", program]
        env = {"UDOCKER_DIR": str(self.udocker.store)}
        return self.udocker.user.run(command, cwd=self.path, check=True, env=env).stdout

    def id_of(self, source: str) -> str:
        """The image id that skopeo sees."""
        config = self.skopeo("inspect", "--config", "--raw", source)
        return f"sha256:{hashlib.sha256(config.encode()).hexdigest()}"


@pytest.fixture
def exchange(udocker: Commands, busybox_image: PushedImage) -> Iterator[Exchange]:
    source = busybox_image.source
    with session_directory("exchange") as path:
        source.builder.write_layout(path / "layout", source.image, "test/busybox:1")
        for place in (path, *path.rglob("*")):
            os.chown(place, udocker.user.uid, udocker.user.gid)
        yield Exchange(udocker, path, json.loads(source.image.data)["config"]["digest"])


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_an_archive_of_skopeo_is_loaded_run_and_given_back(exchange: Exchange, kind: str) -> None:
    exchange.skopeo("copy", "oci:layout:test/busybox:1", f"{kind}:in.tar:docker.io/test/busybox:1")
    udocker = exchange.udocker
    name = udocker.good("load", "-i", str(exchange.path / "in.tar")).strip()
    assert name == "docker.io/test/busybox:1"
    udocker.good("create", "--name=box", name)
    assert udocker.good("run", "box", "echo", "hello") == "hello\n"
    udocker.good("save", "-o", str(exchange.path / "out.tar"), name)
    assert exchange.id_of(f"docker-archive:out.tar:{name}") == exchange.image_id
    exchange.skopeo("copy", f"docker-archive:out.tar:{name}", "dir:back")
    assert exchange.id_of("dir:back") == exchange.image_id


def test_several_images_are_saved_in_one_archive(exchange: Exchange, debian_image: PushedImage) -> None:
    udocker = exchange.udocker
    udocker.good("pull", debian_image.reference)
    exchange.shell('tar -C layout -c . | gzip | "$1" load - team/busy')
    udocker.good("tag", "team/busy:1", "team/busy:2")
    names = [debian_image.reference, "team/busy:1", "team/busy:2"]
    udocker.good("save", "-o", str(exchange.path / "all.tar"), *names)
    for name in names:
        assert json.loads(exchange.skopeo("inspect", f"docker-archive:all.tar:{name}"))["Os"] == "linux"
    assert exchange.id_of("docker-archive:all.tar:team/busy:2") == exchange.image_id
    exchange.shell(f'"$1" save {" ".join(names)} | cmp - all.tar')
    udocker.good("rmi", *names)
    assert udocker.good("load", "-i", str(exchange.path / "all.tar")).split() == names
    program = "import sys; print(sys.version_info[0])"
    assert udocker.good("run", "--rm", debian_image.reference, "python3", "-c", program) == "3\n"


def test_a_layout_that_umoci_changed_is_loaded(exchange: Exchange) -> None:
    exchange.umoci("unpack", "--rootless", "--image", "layout:test/busybox:1", "bundle")
    exchange.shell("cd bundle/rootfs; mkdir srv; echo inserted > srv/new; rm etc/group")
    exchange.umoci("repack", "--image", "layout:test/busybox:1", "bundle")
    exchange.umoci("config", "--image", "layout:test/busybox:1", "--config.env", "COLOUR=red")
    assert exchange.shell('tar -C layout -c . | "$1" load').strip() == "test/busybox:1"
    script = "cat /srv/new; echo $COLOUR; ls /etc/group 2>&1 || true"
    printed = exchange.udocker.good("run", "--rm", "test/busybox:1", "sh", "-c", script)
    assert printed.startswith("inserted\nred\n")
    assert "No such file" in printed


def test_a_layer_that_umoci_inserted_is_loaded(exchange: Exchange) -> None:
    """umoci insert ends its layers without the blocks of zeros that tar(5) asks for."""
    exchange.shell("mkdir tree; echo inserted > tree/new; ln -s new tree/link")
    exchange.umoci("insert", "--rootless", "--image", "layout:test/busybox:1", "tree", "/srv")
    exchange.umoci("insert", "--rootless", "--whiteout", "--image", "layout:test/busybox:1", "/etc/group")
    exchange.shell('tar -C layout -c . | "$1" load')
    printed = exchange.udocker.good("run", "--rm", "test/busybox:1", "sh", "-c", "cat /srv/link; ls /etc")
    assert printed.startswith("inserted\n")
    assert "group" not in printed
    exchange.shell('"$1" save -o out.tar test/busybox:1')
    exchange.skopeo("copy", "docker-archive:out.tar:test/busybox:1", "oci:other:1")
    assert exchange.id_of("docker-archive:out.tar:test/busybox:1") == exchange.id_of(
        "oci:layout:test/busybox:1"
    )


def test_what_is_saved_is_unpacked_by_umoci(exchange: Exchange) -> None:
    exchange.shell('tar -C layout -c . | "$1" load; "$1" save -o out.tar test/busybox:1')
    exchange.skopeo("copy", "docker-archive:out.tar:test/busybox:1", "oci:other:1")
    exchange.umoci("unpack", "--rootless", "--image", "other:1", "bundle")
    unpacked = exchange.path / "bundle" / "rootfs" / "bin" / "busybox"
    assert unpacked.read_bytes() == Path(need_command("busybox", "busybox-static")).read_bytes()


def test_a_container_is_exported_and_imported(exchange: Exchange) -> None:
    udocker = exchange.udocker
    exchange.shell('tar -C layout -c . | "$1" load; "$1" create --name=box test/busybox:1')
    udocker.good("run", "box", "sh", "-c", "echo kept > /etc/kept; chmod 0 /etc/kept; ln /etc/kept /link")
    exchange.shell('"$1" export -o tree.tar box; "$1" export box | cmp - tree.tar')
    assert "etc/kept" in exchange.shell("tar -tf tree.tar")
    tree = str(exchange.path / "tree.tar")
    assert udocker.good("import", tree, "team/tree:1") == "team/tree:1\n"
    container = exchange.shell('gzip < tree.tar | "$1" import --tocontainer --name=copy -').strip()
    assert container in udocker.good("ps")
    for target in ("copy", "team/tree:1"):
        assert udocker.good("run", target, "/bin/busybox", "cat", "/link") == "kept\n"
    udocker.good("import", "--mv", "--platform=linux/arm64", tree, "team/tree:2")
    assert not Path(tree).exists()
    assert "linux/arm64" in udocker.good("images", "-p")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["load", "-i", "/nosuch"], "no such file"),
        (["load", "-i", "/etc"], "directory"),
        (["load", "-i", "/etc/passwd"], "not a whole tar archive"),
        (["load", "-i", "/dev/null"], "neither manifest.json nor index.json"),
        (["load", "-i", "/dev/null", "Upper"], "image reference"),
        (["save", "nosuch"], "not here"),
        (["save", "-o", "/nosuch/file", "nosuch"], "not here"),
        (["save", "-"], "no image"),
        (["export", "nosuch"], "not here"),
        (["import", "/etc/passwd", "x:1"], "not a whole tar archive"),
        (["import", "/etc/passwd"], "no name"),
        (["import", "--tocontainer", "--name=a/b", "/etc/passwd"], "not a container name"),
    ],
)
def test_bad_archives_and_names_are_one_clear_line(
    udocker: Commands, arguments: list[str], words: str
) -> None:
    assert words in udocker.bad(*arguments)
