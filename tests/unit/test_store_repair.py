"""Repair: what crashes leave is mended or told with a command; what the living make is left alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Callable

import pytest

from tests.services.images import ImageBuilder, file
from udocker.config import Config
from udocker.model.manifest import ImageIndex, Manifest, parse_manifest
from udocker.model.reference import ImageReference
from udocker.run.images import create
from udocker.store.claims import claimed, dropping
from udocker.store.repair import Finding, repair
from udocker.store.store import Store
from udocker.system.files import unique_name
from udocker.system.process import Node, ProcessIdentity, node_mark

REFERENCE = ImageReference.parse("team/app:1")
OLD = 7200.0  # seconds


class Site:
    """A store with an image of two layers and a container of it that is called box."""

    def __init__(self, path: Path) -> None:
        self.config = Config(path / "store")
        self.store = Store.at(self.config).create()
        self.builder = ImageBuilder()
        layers = [self.builder.layer([file("a", b"1" * 5000)]), self.builder.layer([file("b"), file("end")])]
        self.image = self.builder.image(layers)
        self.index = self.builder.index([self.image])
        self.pull()
        self.container = create(self.config, REFERENCE, "box")

    def pull(self) -> None:
        manifest, index = parse_manifest(self.image.data), parse_manifest(self.index.data)
        assert isinstance(manifest, Manifest)
        assert isinstance(index, ImageIndex)
        for descriptor in (manifest.config, *manifest.layers):
            path = self.store.layers.path(descriptor.digest)
            if not self.store.layers.has(descriptor):
                path.unlink(missing_ok=True)
            self.store.layers.add_bytes(descriptor.digest, self.builder.blobs[str(descriptor.digest)].data)
        self.store.images.publish(REFERENCE, manifest, index)

    @property
    def directory(self) -> Path:
        """The image's."""
        return self.store.images.directory(REFERENCE)

    @property
    def layer(self) -> Path:
        return self.store.layers.path(self.store.images.load(REFERENCE).manifest.layers[0].digest)

    def blob(self, content: bytes = b"x", name: str = "sha256:" + "7" * 64) -> Path:
        path = self.store.paths.layers / name
        path.write_bytes(content)
        return path

    def lines(self, **options: bool) -> list[str]:
        return [line(finding) for finding in repair(self.store, **options)]

    def files(self) -> dict[str, bytes]:
        """Everything that the store holds; links by where they lead."""
        found = {}
        for path in self.config.udocker_dir.rglob("*"):
            content = os.readlink(path).encode() if path.is_symlink() else b""
            found[str(path)] = path.read_bytes() if path.is_file() and not path.is_symlink() else content
        return found


def line(finding: Finding) -> str:
    return f"{'mended' if finding.mended else 'left'}: {finding.what}: {finding.what_now}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    assert site.lines() == []
    yield site


def age(*paths: Path) -> None:
    for path in paths:
        if os.path.lexists(path):
            changed = path.lstat().st_mtime - OLD
            os.utime(path, (changed, changed), follow_symlinks=False)


def mark_of(identity: ProcessIdentity) -> str:
    return f"{identity.mark()}-{'0' * 12}"


def dead() -> str:
    """The end of a name that a process of this node has made which is dead."""
    return mark_of(replace(ProcessIdentity.current(), start=1))


def elsewhere() -> str:
    """The end of a name that a process of some other node has made."""
    return mark_of(replace(ProcessIdentity.current(), host="some-other-node"))


def without_tag(site: Site) -> None:
    (site.directory / "TAG").unlink()


def without_metadata(site: Site, *names: str) -> None:
    for name in names:
        Path(site.container.directory, name).unlink()


def without_root(site: Site) -> None:
    shutil.rmtree(site.container.root)
    directory = Path(site.container.directory)
    age(directory, *directory.iterdir())


def cloning(site: Site) -> None:
    """What udocker 1.3's clone leaves that is killed while it copies the files."""
    directory = site.store.paths.containers / "11111111-2222-3333-4444-555555555555"
    (directory / "ROOT" / "etc").mkdir(parents=True)
    (directory / "imagerepo.name").write_text("CLONING:inprogress")
    age(directory, directory / "ROOT", directory / "imagerepo.name")


def old_blob(site: Site) -> None:
    age(site.blob())


def longer(site: Site) -> None:
    site.layer.write_bytes(site.layer.read_bytes() + b"x")


def changed(site: Site) -> None:
    site.layer.write_bytes(b"\0" + site.layer.read_bytes()[1:])


def cut_long_ago(site: Site) -> None:
    site.layer.write_bytes(b"")
    age(site.layer)


def killed_pull(site: Site) -> None:
    path = site.blob()
    claims = site.store.paths.claims
    claims.mkdir(exist_ok=True)
    (claims / f"claim-{dead()}").write_text(path.name)


def killed_removal(site: Site) -> None:
    path = site.blob(name="0123abcd.layer")
    claims = site.store.paths.claims
    claims.mkdir(exist_ok=True)
    (claims / f"drop-{dead()}").write_text(path.name)


def part_of_a_blob(site: Site) -> None:
    site.store.paths.make(site.store.paths.partial)
    (site.store.paths.partial / f"{'7' * 64}-{dead()}").write_bytes(b"x")


def lock_of_the_dead(site: Site) -> None:
    directory = site.store.paths.locks / "key"
    directory.mkdir()
    holder = replace(ProcessIdentity.current(), start=1)
    (directory / "g1").write_text(json.dumps(holder.to_json()))


def lock_of_nobody(site: Site) -> None:
    directory = site.store.paths.locks / "key"
    directory.mkdir()
    age(directory)


def workspace_of_the_dead(site: Site) -> None:
    (site.store.paths.tmp / "prepare-x-g3").mkdir()


def other_boot(site: Site) -> None:
    """A leftover of this machine before it was started again."""
    name = f"create-x-{elsewhere()}"
    (site.store.paths.tmp / name).mkdir()
    node = Node.current()
    before = replace(node, boot="another", machine=node.machine or "m", booted=node.booted - 100)
    mark = elsewhere().partition("-")[0]
    (site.store.paths.nodes / mark).write_text(json.dumps(asdict(before)))
    again = replace(before, boot="yet another", booted=node.booted - 50)
    (site.store.paths.nodes / ("0" * 12)).write_text(json.dumps(asdict(again)))


MENDED: dict[str, tuple[Callable[[Site], object], str]] = {
    "an image without TAG": (without_tag, "half made or half removed"),
    "an image without a link": (
        lambda site: (site.directory / site.layer.name).unlink(),
        "not linked to its blobs",
    ),
    "a foreign link": (lambda site: (site.directory / "sha256:00").symlink_to("x"), "not its own"),
    "a foreign index": (lambda site: (site.directory / "index").write_bytes(site.image.data), "an index"),
    "an unfinished file": (lambda site: (site.directory / f".manifest.{dead()}").touch(), "unfinished"),
    "an empty directory": (lambda site: (site.store.paths.repos / "x" / "y").mkdir(parents=True), "empty"),
    "no container.json": (lambda site: without_metadata(site, "container.json"), "container.json: missing"),
    "no imagerepo.name": (lambda site: without_metadata(site, "imagerepo.name"), "imagerepo.name: missing"),
    "no ROOT": (without_root, "half made or half removed"),
    "a clone cut short": (cloning, "half made or half removed"),
    "a name of nothing": (lambda site: (site.store.paths.containers / "x").symlink_to("1-2"), "is not here"),
    "a blob of nobody": (old_blob, "no image has it"),
    "a blob of a killed pull": (killed_pull, "no image has it"),
    "a blob of a killed removal": (killed_removal, "no image has it"),
    "unfinished work": (lambda site: (site.store.paths.tmp / f"create-x-{dead()}").mkdir(), "is dead"),
    "a part of a blob": (part_of_a_blob, "tmp/partial/"),
    "work of another boot": (other_boot, "is dead"),
    "a workspace": (workspace_of_the_dead, "is dead"),
    "a lock": (lock_of_the_dead, "its holder is dead"),
    "a lock of nobody": (lock_of_nobody, "nobody holds it"),
}


@pytest.mark.parametrize("damage", MENDED)
def test_it_is_mended(site: Site, damage: str) -> None:
    break_it, words = MENDED[damage]
    break_it(site)
    broken = site.files()
    told = site.lines(dry_run=True)
    assert any(words in text for text in told), told
    assert all(text.startswith("mended") for text in told)
    assert site.files() == broken
    assert site.lines() == told
    assert site.lines() == []


LEFT: dict[str, tuple[Callable[[Site], object], str, str]] = {
    "a cut layer": (cut_long_ago, "missing or truncated", "udocker pull team/app:1"),
    "a changed layer": (changed, "missing or truncated", "udocker pull team/app:1"),
    "a longer layer": (longer, "missing or truncated", "udocker pull team/app:1"),
    "a lost layer": (lambda site: site.layer.unlink(), "missing or truncated", "udocker pull team/app:1"),
    "no manifest": (lambda site: (site.directory / "manifest").unlink(), "manifest", "udocker pull"),
    "a cut manifest": (
        lambda site: (site.directory / "manifest").write_text("{"),
        "manifest",
        "udocker pull",
    ),
}


@pytest.mark.parametrize("damage", LEFT)
def test_what_only_a_pull_mends_is_told_with_its_command(site: Site, damage: str) -> None:
    break_it, words, remedy = LEFT[damage]
    break_it(site)
    last = site.lines()[-1]
    assert last.startswith("left: team/app:1: ")
    assert words in last
    assert remedy in last
    site.pull()
    assert site.lines() == []


def test_a_damaged_layer_is_removed_so_that_the_next_pull_fetches_it(site: Site) -> None:
    changed(site)
    layer = site.layer
    assert site.lines()[0].startswith(f"mended: layers/{layer.name}: its content has another digest: removed")
    assert not layer.exists()


UNSURE: dict[str, Callable[[Site], object]] = {
    "a cut layer that is new": lambda site: site.layer.write_bytes(b""),
    "a new blob of nobody": lambda site: site.blob(),
    "a new container without ROOT": lambda site: shutil.rmtree(site.container.root),
    "work of another node": lambda site: (site.store.paths.tmp / f"create-x-{elsewhere()}").mkdir(),
    "something else in tmp": lambda site: (site.store.paths.tmp / "something").mkdir(),
}


@pytest.mark.parametrize("damage", UNSURE)
def test_what_may_be_somebodys_is_left_unless_the_user_says_that_nothing_runs(
    site: Site, damage: str
) -> None:
    UNSURE[damage](site)
    broken = site.files()
    told = site.lines()
    assert all(text.startswith("left: ") for text in told)
    assert "udocker repair --all" in told[0]
    assert site.files() == broken
    mended = site.lines(nothing_runs=True)
    assert mended[0].startswith("mended: ")
    assert site.files() != broken


def test_a_claim_of_another_node_is_left_with_its_blobs(site: Site) -> None:
    path = site.blob()
    age(path)
    site.store.paths.claims.mkdir(exist_ok=True)
    (site.store.paths.claims / f"claim-{elsewhere()}").write_text(path.name)
    [text] = site.lines()
    assert text.startswith("left: locks/claims/")
    assert path.exists()
    assert len(site.lines(nothing_runs=True)) == 2
    assert not path.exists()


def test_what_the_living_make_is_not_touched(site: Site) -> None:
    path = site.blob()
    age(path)
    work = site.store.paths.tmp / unique_name("create-1-2-3-4-5-")
    work.mkdir()
    (site.store.paths.containers / "soon").symlink_to("1-2-3-4-5")
    with site.store.lock("key").held(), claimed(site.store.paths, [path.name]):
        before = site.files()
        assert site.lines() == []
        assert site.lines(nothing_runs=False) == []
        assert {name: data for name, data in site.files().items() if "beat" not in name} == {
            name: data for name, data in before.items() if "beat" not in name
        }


def test_blobs_of_udocker_13_that_are_not_named_by_a_digest_are_left(site: Site) -> None:
    path = site.blob(name="0123abcd.layer")
    age(path)
    assert site.lines(nothing_runs=True) == []
    assert path.exists()


def test_a_removal_under_way_does_not_keep_its_own_blobs(site: Site) -> None:
    path = site.blob()
    with dropping(site.store.paths, [path.name]):
        assert site.store.layers.remove([path.name], set) == [path.name]


def test_a_tree_of_udocker_13_that_lacks_its_end_is_told_and_kept(site: Site) -> None:
    Path(site.container.directory, "udocker.json").unlink()
    assert site.lines() == []
    Path(site.container.root, "end").unlink()
    [text] = site.lines(nothing_runs=True)
    assert "the last file of its image is not in it" in text
    assert f"udocker rm {site.container.id}" in text


def test_a_container_without_configuration_is_left_where_its_image_is_gone(site: Site) -> None:
    site.store.images.remove(REFERENCE)
    Path(site.container.directory, "container.json").write_text("{")
    [text] = site.lines()
    assert text.startswith(f"left: container {site.container.id}")
    assert "udocker pull team/app:1" in text
    site.pull()
    assert site.lines()[0].startswith("mended: ")
    assert site.store.containers.find("box").config.document


def test_a_clone_that_may_be_whole_is_told_and_kept(site: Site) -> None:
    """udocker 1.3 writes the name of the clone's image last, or first, as the directory has it."""
    Path(site.container.directory, "imagerepo.name").write_text("CLONING:inprogress")
    [text] = site.lines(nothing_runs=True)
    assert text.startswith(f"left: container {site.container.id}: a clone")
    assert Path(site.container.directory).is_dir()


def test_a_protected_container_is_not_removed(site: Site) -> None:
    without_root(site)
    Path(site.container.directory, "PROTECT").touch()
    [text] = site.lines(nothing_runs=True)
    assert "udocker unprotect" in text


def test_a_store_that_is_not_there_is_whole_and_stays_away(tmp_path: Path) -> None:
    store = Store.at(Config(tmp_path / "none"))
    assert list(repair(store)) == []
    assert list(tmp_path.iterdir()) == []


def test_nodes_that_were_started_again_are_forgotten(site: Site) -> None:
    other_boot(site)
    assert len(list(site.store.paths.nodes.iterdir())) == 3
    site.lines()
    assert node_mark() in {path.name for path in site.store.paths.nodes.iterdir()}
    assert len(list(site.store.paths.nodes.iterdir())) <= 2
