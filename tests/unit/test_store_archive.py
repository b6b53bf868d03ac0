"""Image archives: what is written is read again, and what is hostile is refused and leaves nothing."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.images import (
    Blob,
    ImageBuilder,
    Member,
    file,
    hardlink,
    member,
    symlink,
    tar_of,
)
from tests.unit.archives import Sample, docker_archive, files_of, load, names, save, written
from udocker.config import Config
from udocker.errors import StoreError, UdockerError, UsageError
from udocker.model.reference import ImageReference
from udocker.run.images import create
from udocker.store.members import Members, clean_name
from udocker.store.store import Store


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(udocker_dir=tmp_path / "store")


PACKINGS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    # As several processes write it at once (pbzip2, xz with padding).
    "bzip2 in pieces": lambda data: b"".join(
        bz2.compress(data[at : at + 4000]) for at in range(0, len(data), 4000)
    ),
    "xz in pieces": lambda data: (
        lzma.compress(data[:5000]) + bytes(8) + lzma.compress(data[5000:]) + bytes(4)
    ),
}


@pytest.mark.parametrize("compress", PACKINGS.values(), ids=PACKINGS)
def test_a_docker_archive_becomes_an_image(
    tmp_path: Path, config: Config, compress: Callable[[bytes], bytes]
) -> None:
    sample = Sample()
    archive = written(tmp_path / "a.tar", sample.members(["team/app:1", "team/app:2"]), compress)
    assert names(load(config, archive)) == ["team/app:1", "team/app:2"]
    store = Store.at(config)
    image = store.images.load(ImageReference.parse("team/app:2"))
    assert str(image.manifest.config.digest) == sample.config_digest
    assert len(image.manifest.layers) == 3
    container = create(config, ImageReference.parse("team/app:1"))
    assert Path(container.root, "etc/a").read_bytes() == b"a" * 5000
    assert list(store.paths.tmp.iterdir()) == []


def test_what_is_saved_is_loaded_and_saved_again_bit_for_bit(tmp_path: Path, config: Config) -> None:
    load(config, written(tmp_path / "a.tar", Sample().members(["team/app:1", "x:2"])))
    references = [ImageReference.parse(name) for name in ("team/app:1", "x:2")]
    save(config, references, str(tmp_path / "first.tar"))
    other = Config(udocker_dir=tmp_path / "other")
    assert names(load(other, str(tmp_path / "first.tar"))) == ["team/app:1", "x:2"]
    save(other, references, str(tmp_path / "second.tar"))
    assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()


def test_a_saved_archive_has_what_older_programs_read(tmp_path: Path, config: Config) -> None:
    sample = Sample()
    load(config, written(tmp_path / "a.tar", sample.members()))
    save(config, [ImageReference.parse("team/app:1")], str(tmp_path / "out.tar"))
    with tarfile.open(tmp_path / "out.tar") as archive:
        archive.extractall(tmp_path / "out")
    out = tmp_path / "out"
    (entry,) = json.loads((out / "manifest.json").read_text())
    assert entry["Config"] == f"{sample.config_digest[7:]}.json"
    assert entry["RepoTags"] == ["team/app:1"]
    layers = []
    name = json.loads((out / "repositories").read_text())["team/app"]["1"]
    while name:
        assert (out / name / "VERSION").read_text() == "1.0"
        layers.append((out / name / "layer.tar").read_bytes())
        name = json.loads((out / name / "json").read_text()).get("parent")
    first, second = (layer.data for layer in sample.layers)
    assert layers == [first, second, first]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "plain"])
def test_compressed_layers_are_saved_plain_under_the_same_image_id(
    tmp_path: Path, config: Config, compression: str
) -> None:
    builder = ImageBuilder()
    image = builder.image([builder.layer([file("x", b"x" * 100_000)], compression)], "linux/amd64")
    load(config, oci_archive(tmp_path, builder, image, "team/oci:1"))
    loaded = Store.at(config).images.load(ImageReference.parse("team/oci:1"))
    assert str(loaded.manifest.digest) == image.digest
    save(config, [ImageReference.parse("team/oci:1")], str(tmp_path / "out.tar"))
    other = Config(udocker_dir=tmp_path / "other")
    load(other, str(tmp_path / "out.tar"))
    again = Store.at(other).images.load(ImageReference.parse("team/oci:1"))
    assert again.manifest.config.digest == loaded.manifest.config.digest


def oci_members(tmp_path: Path, builder: ImageBuilder, image: Blob, name: str) -> list[Member]:
    builder.write_layout(tmp_path / "layout", image, name)
    paths = sorted(path for path in (tmp_path / "layout").rglob("*") if path.is_file())
    return [file(str(path.relative_to(tmp_path / "layout")), path.read_bytes()) for path in paths]


def oci_archive(tmp_path: Path, builder: ImageBuilder, image: Blob, name: str) -> str:
    return written(tmp_path / "oci.tar", oci_members(tmp_path, builder, image, name))


def test_of_an_index_the_image_of_this_machine_is_loaded(tmp_path: Path, config: Config) -> None:
    builder = ImageBuilder()
    layer = builder.layer([file("x")])
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    ours = builder.image([layer], f"linux/{machine}")
    index = builder.index([builder.image([layer], "linux/s390x"), ours])
    assert names(load(config, oci_archive(tmp_path, builder, index, "team/many:1"))) == ["team/many:1"]
    image = Store.at(config).images.load(ImageReference.parse("team/many:1"))
    assert str(image.manifest.digest) == ours.digest
    assert str(image.digest) == index.digest


def test_an_index_in_an_index_is_followed(tmp_path: Path, config: Config) -> None:
    builder = ImageBuilder()
    ours = builder.image([builder.layer([file("x")], "zstd")])
    nested = builder.index([builder.index([builder.index([ours])])])
    assert names(load(config, oci_archive(tmp_path, builder, nested, "team/deep:1"))) == ["team/deep:1"]
    image = Store.at(config).images.load(ImageReference.parse("team/deep:1"))
    assert str(image.manifest.digest) == ours.digest
    deeper = builder.index([builder.index([nested])])
    with pytest.raises(StoreError, match="nested deeper"):
        load(config, oci_archive(tmp_path, builder, deeper, "team/deeper:1"))


def test_an_image_without_a_name_is_called_by_its_id(tmp_path: Path, config: Config) -> None:
    sample = Sample()
    archive = written(tmp_path / "a.tar", sample.members(RepoTags=None))
    assert names(load(config, archive)) == [f"{sample.config_digest[7:19]}:latest"]
    builder = ImageBuilder()
    image = builder.image([builder.layer([file("x")])])
    (name,) = names(load(config, oci_archive(tmp_path, builder, image, "1.0")))
    assert name.endswith(":1.0")


def test_a_new_name_keeps_the_tags_unless_it_has_one(tmp_path: Path, config: Config) -> None:
    archive = written(tmp_path / "a.tar", Sample().members(["team/app:1", "team/app:2"]))
    assert names(load(config, archive, "mine")) == ["mine:1", "mine:2"]
    assert names(load(config, archive, "127.0.0.1:5000/mine:new")) == ["127.0.0.1:5000/mine:new"]


def test_a_new_name_for_several_images_is_refused(tmp_path: Path, config: Config) -> None:
    sample, builder = Sample(), ImageBuilder()
    layer = builder.layer([file("x")], "plain")
    second = docker_archive(builder, builder.image([layer]), ["y:1"], {layer.diff_id: layer.data})
    first = sample.members()
    entries = [json.loads(members.pop().data)[0] for members in (first, second)]
    both = [*first, *second, file("manifest.json", json.dumps(entries).encode())]
    archive = written(tmp_path / "a.tar", both)
    with pytest.raises(UsageError, match="2 images"):
        load(config, archive, "mine")
    assert files_of(config) == []
    assert names(load(config, archive)) == ["team/app:1", "y:1"]


def test_links_among_members_are_followed_inside_the_archive(tmp_path: Path, config: Config) -> None:
    sample = Sample()
    members = sample.members()
    first = members[0]
    name = first.info.name
    first.info.name = "data/real"
    members.insert(1, symlink(name, "./data/../data/real"))
    assert names(load(config, written(tmp_path / "a.tar", members))) == ["team/app:1"]
    members[1] = hardlink(name, "data/real")
    assert names(load(config, written(tmp_path / "b.tar", members))) == ["team/app:1"]


def hostile_archives() -> dict[str, tuple[list[Member], str]]:
    """Archives that must be refused, each with words of the message."""
    sample = Sample()
    good = sample.members()
    name = good[0].info.name
    config = good[-2].info.name
    deep = b"[" * 100_000
    diff_ids = json.loads(good[-2].data)["rootfs"]["diff_ids"]

    def replaced(which: str, *new: Member) -> list[Member]:
        return [*(item for item in good if item.info.name != which), *new]

    def manifest(value: Any) -> list[Member]:
        return replaced("manifest.json", file("manifest.json", json.dumps(value).encode()))

    return {
        "parent": ([file("../x"), *good], "out of the archive"),
        "inner parent": ([file("a/../../x"), *good], "out of the archive"),
        "absolute": ([file("/etc/x"), *good], "absolute"),
        "link to the host": (replaced(name, symlink(name, "/etc/passwd")), "absolute"),
        "link above": (replaced(name, symlink(name, "../../etc/passwd")), "out of the archive"),
        "hard link to the host": (replaced(name, hardlink(name, "/etc/passwd")), "absolute"),
        "link to itself": (replaced(name, symlink(name, name)), "missing"),
        "link to nothing": (replaced(name, symlink(name, "nothing")), "missing"),
        "device": ([member("x", tarfile.CHRTYPE), *good], "not a plain file"),
        "no layer": (replaced(name), "missing"),
        "no configuration": (replaced(config), "missing"),
        "no manifest": (replaced("manifest.json"), "not an image"),
        "nothing": ([], "not an image"),
        "wrong layer": (replaced(name, file(name, b"x")), "no layer of the archive has this digest"),
        "wrong configuration": (replaced(config, file(config, b"{}")), "has digest"),
        "long document": (replaced("manifest.json", file("manifest.json", b" " * (9 << 20))), "longer"),
        "deep document": (replaced("manifest.json", file("manifest.json", deep)), "not JSON"),
        "not JSON": (replaced("manifest.json", file("manifest.json", b"\xff")), "not JSON"),
        "not an array": (manifest({}), "not an array"),
        "no image": (manifest([]), "no image"),
        "not objects": (manifest([1]), "not an array of objects"),
        "no name of configuration": (manifest([{"Layers": []}]), "not a name"),
        "layers of numbers": (manifest([{"Config": config, "Layers": [1]}]), "array of strings"),
        "missing layers": (manifest([{"Config": config, "Layers": None}]), "no layer"),
        "configuration is a layer": (manifest([{"Config": name, "Layers": []}]), "not JSON"),
        "tags of numbers": (sample.members(RepoTags=[1]), "array of strings"),
        "tag leads out": (sample.members(["../../x:1"]), "image reference"),
        "tag is a digest": (sample.members([f"x@{diff_ids[0]}"]), "digest"),
        "too many layers": (
            [*sample.members(Layers=[f"{diff[7:]}.tar" for diff in diff_ids] + ["more"]), file("more", b"x")],
            "not a layer",
        ),
    }


@pytest.mark.parametrize("case", sorted(hostile_archives()))
def test_a_hostile_archive_is_refused_and_leaves_nothing(tmp_path: Path, config: Config, case: str) -> None:
    members, words = hostile_archives()[case]
    with pytest.raises(UdockerError) as caught:
        load(config, written(tmp_path / "a.tar", members))
    assert words in str(caught.value)
    assert "\n" not in caught.value.message
    assert files_of(config) == []


def test_an_archive_cut_anywhere_is_refused_and_leaves_nothing(tmp_path: Path, config: Config) -> None:
    data = tar_of(Sample().members()).rstrip(b"\0")
    for end in (0, 1, 300, 512, 700, 1024, len(data) // 2, len(data) // 2 // 512 * 512, len(data) - 200):
        (tmp_path / "a.tar").write_bytes(data[:end])
        with pytest.raises(StoreError):
            load(config, str(tmp_path / "a.tar"))
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        packed = compress(data)
        for broken in (packed[:-20], packed[:30] + b"????" + packed[34:]):
            (tmp_path / "a.tar").write_bytes(broken)
            with pytest.raises(StoreError):
                load(config, str(tmp_path / "a.tar"))
    assert files_of(config) == []


def test_headers_that_would_fill_the_memory_are_refused(tmp_path: Path, config: Config) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
    with pytest.raises(StoreError, match="header of"):
        load(config, str(tmp_path / "a.tar"))


@pytest.mark.parametrize("kind", ["manifest", "config", "layer"])
def test_a_layout_with_a_changed_or_missing_blob_is_refused(
    tmp_path: Path, config: Config, kind: str
) -> None:
    builder = ImageBuilder()
    layer = builder.layer([file("x", b"x" * 1000)])
    image = builder.image([layer])
    document = json.loads(image.data)
    digest = {"manifest": image.digest, "layer": layer.digest}.get(kind, document["config"]["digest"])
    members = oci_members(tmp_path, builder, image, "team/oci:1")
    changed = [
        file(item.info.name, item.data + b" ") if item.info.name.endswith(digest[7:]) else item
        for item in members
    ]
    missing = [item for item in members if not item.info.name.endswith(digest[7:])]
    for broken, words in ((changed, "does not match"), (missing, "missing")):
        with pytest.raises(StoreError, match=words):
            load(config, written(tmp_path / "a.tar", broken))
    assert files_of(config) == []


def test_a_layout_whose_layer_is_not_the_configurations_is_refused(tmp_path: Path, config: Config) -> None:
    builder = ImageBuilder()
    layer, other = builder.layer([file("x")]), builder.layer([file("y")])
    image = builder.manifest(builder.config([layer]), [other])
    with pytest.raises(StoreError, match="not the configuration's"):
        load(config, oci_archive(tmp_path, builder, image, "team/oci:1"))


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.text(min_size=1, max_size=40), st.sampled_from("fsh"), st.text(max_size=40))))
def test_no_name_of_a_member_reaches_the_host(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, str, str]]
) -> None:
    work = tmp_path_factory.mktemp("work") / "inner"
    work.mkdir()
    makers = {"f": lambda name, _: file(name, b"x"), "s": symlink, "h": hardlink}
    try:
        stream = io.BytesIO(tar_of(makers[kind](name, target) for name, kind, target in entries))
    except (UnicodeEncodeError, ValueError):
        return  # a name that no tar can hold
    try:
        Members.read_from(stream, work)
    except StoreError:
        pass  # refused is fine
    assert [path.name for path in work.parent.iterdir()] == ["inner"]
    assert all(path.name.isdigit() and path.is_file() and not path.is_symlink() for path in work.iterdir())


@given(st.text(alphabet="a./", max_size=30))
def test_a_clean_name_never_leads_out(name: str) -> None:
    try:
        clean = clean_name(name)
    except StoreError:
        return
    assert not clean.startswith("/")
    assert not {"", ".", ".."} & set(clean.split("/")) or clean == ""
    assert os.path.normpath("/" + name) == os.path.normpath("/" + clean)
