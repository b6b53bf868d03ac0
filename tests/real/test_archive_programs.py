"""Archives exchanged with podman and udocker 1.3, both ways: ids, configurations and layers stay the same."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from tests.real.commands import Commands
from tests.services.images import Blob, ImageBuilder, directory, file, hardlink, symlink
from tests.services.podman import Podman, private_podman
from tests.services.sharing import session_directory
from tests.services.udocker13 import SETTINGS, udocker13
from udocker.config import Config
from udocker.model.reference import ImageReference
from udocker.store.store import Store

PORTED, PACKED = "reg.example:5000/team/app:1", "docker.io/team/packed:2"


@dataclass(frozen=True)
class Exchange:
    """A directory of the user's, and what the user's commands read and write there."""

    udocker: Commands
    path: Path
    program13: Path

    def udocker13(self, *arguments: str) -> str:
        """udocker 1.3 over a store of its own; what it printed, which is much."""
        env = {**SETTINGS, "UDOCKER_DIR": str(self.path / "store13")}
        command = [self.program13, *arguments]
        return self.udocker.user.run(command, env=env, cwd=self.path, check=True).stdout

    def shell(self, script: str) -> str:
        """A script in which $1 is udocker."""
        command = ["bash", "-c", f"set -e -o pipefail; {script}", "bash", self.udocker.programs / "udocker"]
        env = {"UDOCKER_DIR": str(self.udocker.store)}
        return self.udocker.user.run(command, cwd=self.path, check=True, env=env).stdout

    def layout(self, name: str, reference: str, builder: ImageBuilder, image: Blob) -> str:
        """An OCI layout as an archive; its path."""
        builder.write_layout(self.path / name, image, reference)
        subprocess.run(["tar", "-C", name, "-cf", f"{name}.tar", "."], cwd=self.path, check=True)
        return str(self.path / f"{name}.tar")

    def config(self, name: str) -> bytes:
        """An image's configuration, verified; its digest is the image's id."""
        store = Store.at(Config(udocker_dir=self.udocker.store))
        image = store.images.load(ImageReference.parse(name))
        return store.layers.read(image.manifest.config.digest)


@pytest.fixture(scope="module")
def program13() -> Iterator[Path]:
    with udocker13() as program:
        yield program


@pytest.fixture
def exchange(udocker: Commands, program13: Path) -> Iterator[Exchange]:
    with session_directory("programs") as path:
        os.chown(path, udocker.user.uid, udocker.user.gid)
        yield Exchange(udocker, path, program13)


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    with private_podman() as program:
        yield program


def images(exchange: Exchange) -> dict[str, str]:
    """Load an image with a layer twice and a port in its name, and one with layers of every packing.

    Returns their ids by name.
    """
    builder = ImageBuilder()
    tree = [directory("d"), file("d/f", b"x" * 3000), hardlink("d/g", "d/f"), symlink("l", "/d/f")]
    first, second = builder.layer(tree), builder.layer([file("second", b"2")], "plain")
    third = builder.layer([file("third", b"3")], "zstd")
    made = {
        PORTED: builder.image([first, second, first], cmd=["/d/f"], env=["A=1"]),
        PACKED: builder.image([first, second, third], workdir="/d"),
    }
    for number, (name, image) in enumerate(made.items()):
        archive = exchange.layout(f"layout{number}", name, builder, image)
        assert exchange.udocker.good("load", "-i", archive).split() == [name]
    return {name: json.loads(image.data)["config"]["digest"][7:] for name, image in made.items()}


def diff_ids(exchange: Exchange, name: str) -> list[str]:
    found: list[str] = json.loads(exchange.config(name))["rootfs"]["diff_ids"]
    return found


def test_podman_loads_what_is_saved(exchange: Exchange, podman: Podman) -> None:
    ids = images(exchange)
    exchange.udocker.good("tag", PORTED, "reg.example:5000/team/app:2")
    names = [*ids, "reg.example:5000/team/app:2"]
    listed = " ".join(names)
    exchange.shell(f'"$1" save {listed} > all.tar; "$1" save -o file.tar {listed}; cmp all.tar file.tar')
    podman("load", "-i", "all.tar", cwd=exchange.path)
    for name in names:
        seen = podman.inspect(name, exchange.path)
        assert seen["Id"] == ids.get(name, ids[PORTED])
        assert seen["RootFS"]["Layers"] == diff_ids(exchange, name)
    podman("rmi", "--all", "--force", cwd=exchange.path)


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_what_podman_saves_is_loaded(exchange: Exchange, podman: Podman, form: str) -> None:
    ids = images(exchange)
    exchange.udocker.good("save", "-o", str(exchange.path / "all.tar"), *ids)
    # From one format to the other podman writes configurations of its own.
    sources = ["layout0.tar", "layout1.tar"] if form == "oci-archive" else ["all.tar"]
    for source in sources:
        podman("load", "-i", source, cwd=exchange.path)
    for number, name in enumerate(ids):
        podman("save", f"--format={form}", "-o", f"saved{number}.tar", name, cwd=exchange.path)
        wanted = exchange.config(name)
        exchange.udocker.good("rmi", name)
        archive = exchange.path / f"saved{number}.tar"
        for kind, pack in PACKINGS.items():
            Path(f"{archive}.{kind}").write_bytes(pack(archive.read_bytes()))
            printed = exchange.shell(f'"$1" load < {archive}.{kind}')
            assert printed.split() == [name]
            assert exchange.config(name) == wanted
            exchange.udocker.good("rmi", name)
    podman("rmi", "--all", "--force", cwd=exchange.path)


PACKINGS = {"plain": bytes, "gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}


def test_several_images_of_podman_and_one_without_a_name_are_loaded(
    exchange: Exchange, podman: Podman
) -> None:
    ids = images(exchange)
    exchange.udocker.good("save", "-o", str(exchange.path / "all.tar"), *ids)
    podman("load", "-i", "all.tar", cwd=exchange.path)
    podman("tag", PORTED, "localhost/other:9", cwd=exchange.path)
    podman("save", "--multi-image-archive", "-o", "multi.tar", *ids, "localhost/other:9", cwd=exchange.path)
    podman("save", "-o", "nameless.tar", ids[PORTED], cwd=exchange.path)
    exchange.udocker.good("rmi", *ids)
    loaded = exchange.udocker.good("load", "-i", str(exchange.path / "multi.tar")).split()
    assert sorted(loaded) == sorted([*ids, "localhost/other:9"])
    assert exchange.config("localhost/other:9") == exchange.config(PORTED)
    (name,) = exchange.udocker.good("load", "-i", str(exchange.path / "nameless.tar")).split()
    assert name == f"{ids[PORTED][:12]}:latest"
    exchange.udocker.good("save", "-o", str(exchange.path / "back.tar"), name)
    podman("rmi", "--all", "--force", cwd=exchange.path)
    podman("load", "-i", "back.tar", cwd=exchange.path)
    assert podman.inspect(ids[PORTED], exchange.path)["Id"] == ids[PORTED]
    podman("rmi", "--all", "--force", cwd=exchange.path)


def test_images_go_to_udocker_13_and_back(exchange: Exchange) -> None:
    images(exchange)
    exchange.udocker.good("tag", PORTED, "team/app:1")  # it takes no port in a name
    wanted = {name: exchange.config(name) for name in ("team/app:1", PACKED)}
    for number, name in enumerate(wanted):
        exchange.udocker.good("save", "-o", str(exchange.path / f"ours{number}.tar"), name)
        exchange.udocker13("load", "-i", f"ours{number}.tar")
        exchange.udocker13("save", "-o", f"theirs{number}.tar", name)
        exchange.udocker.good("rmi", name)
        assert name in exchange.udocker.good("load", "-i", str(exchange.path / f"theirs{number}.tar")).split()
        assert exchange.config(name) == wanted[name]


def test_a_clone_goes_to_udocker_13_and_back(exchange: Exchange) -> None:
    images(exchange)
    udocker = exchange.udocker
    first = udocker.good("create", "--name=first", PORTED).strip()
    (udocker.store / "containers" / first / "ROOT" / "written").write_text("kept")
    udocker.good("protect", "first")
    exchange.shell('"$1" export --clone -o ours.tar first; "$1" export --clone first | cmp - ours.tar')
    exchange.udocker13("import", "--clone", "--name=theirs", "ours.tar")
    exchange.udocker13("export", "--clone", "-o", "theirs.tar", "theirs")
    again = exchange.shell('gzip < theirs.tar | "$1" import --clone --name=again -').strip()
    other = udocker.good("import", "--clone", str(exchange.path / "ours.tar")).strip()
    for copy in (again, other):
        assert udocker.good("verify", copy) == f"{copy}: ok\n"
        assert trees(udocker, copy) == trees(udocker, first)
        shown = [json.loads(udocker.good("inspect", container)) for container in (copy, first)]
        assert shown[0]["config"] == shown[1]["config"]
    rows = {line.split()[0]: line.split()[1:] for line in udocker.good("ps").splitlines()[1:]}
    assert rows[first][0] == "P"
    assert rows[again] == [".", "W", "['again']", PORTED]
    assert "already taken" in udocker.bad(
        "import", "--clone", "--name=again", str(exchange.path / "ours.tar")
    )


def test_trees_go_to_udocker_13_and_back(exchange: Exchange) -> None:
    images(exchange)
    first = exchange.udocker.good("create", "--name=first", PORTED).strip()
    exchange.udocker.good("export", "-o", str(exchange.path / "ours.tar"), "first")
    exchange.udocker13("import", "--tocontainer", "--name=theirs", "ours.tar", "some/tree:1")
    exchange.udocker13("export", "-o", "theirs.tar", "theirs")
    copy = exchange.udocker.good("import", "--tocontainer", str(exchange.path / "theirs.tar")).strip()
    assert trees(exchange.udocker, copy) == trees(exchange.udocker, first)


def trees(udocker: Commands, container: str) -> dict[str, tuple[int, int, bytes]]:
    """Every entry of a container's root: its mode, number of links and content."""
    root = udocker.store / "containers" / container / "ROOT"
    found = {}
    for path in root.rglob("*"):
        info = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        content = os.fsencode(os.readlink(path)) if path.is_symlink() else content
        links = 0 if path.is_dir() else info.st_nlink
        found[str(path.relative_to(root))] = (info.st_mode, links, content)
    return found
