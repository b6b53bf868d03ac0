"""Verification names every damage of an image or a container, and none where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services.images import ImageBuilder, file
from udocker.config import Config
from udocker.errors import NotFoundError, StoreError, UsageError
from udocker.model.manifest import Descriptor, ImageIndex, Manifest, parse_manifest
from udocker.model.reference import ImageReference
from udocker.store.containers import ContainerStore
from udocker.store.images import Image
from udocker.store.protection import is_protected, protect, unprotect
from udocker.store.store import Store
from udocker.store.verify import verify_container, verify_image

REFERENCE = ImageReference.parse("team/app:1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(Config(tmp_path / "store")).create()


@pytest.fixture
def image(store: Store) -> Image:
    """An image of two layers, which came by an index."""
    builder = ImageBuilder()
    layers = [builder.layer([file("a", b"1" * 5000)]), builder.layer([file("b")])]
    made = builder.image(layers)
    index = parse_manifest(builder.index([made]).data)
    manifest = parse_manifest(made.data)
    assert isinstance(manifest, Manifest)
    assert isinstance(index, ImageIndex)
    for descriptor in (manifest.config, *manifest.layers):
        store.layers.add_bytes(descriptor.digest, builder.blobs[str(descriptor.digest)].data)
    return store.images.publish(REFERENCE, manifest, index)


def damages(store: Store, reference: ImageReference = REFERENCE) -> list[str]:
    return [damage.what for damage in verify_image(store, reference)]


def lowest(image: Image) -> Descriptor:
    return image.manifest.layers[0]


def test_a_whole_image_has_no_damage(store: Store, image: Image) -> None:
    assert damages(store) == []


def test_an_image_that_is_not_here_is_told(store: Store) -> None:
    with pytest.raises(NotFoundError):
        damages(store)


def test_a_changed_layer_is_told_with_its_file_and_what_to_do(store: Store, image: Image) -> None:
    path = store.layers.path(lowest(image).digest)
    path.write_bytes(b"\0" + path.read_bytes()[1:])
    (damage,) = verify_image(store, REFERENCE)
    assert damage.what == f"{path}: its content has another digest"
    assert damage.remedy == "remove that file and pull the image again"


def test_every_damage_is_told(store: Store, image: Image) -> None:
    first, second = (store.layers.path(layer.digest) for layer in image.manifest.layers)
    first.write_bytes(b"")
    second.unlink()
    (image.directory / str(image.manifest.config.digest)).unlink()
    config = store.layers.path(image.manifest.config.digest)
    assert damages(store) == [
        f"{image.directory / config.name}: is no link to {config}",
        f"{first}: 0 bytes instead of {lowest(image).size}",
        f"{second}: missing",
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schemaVersion": 1}'])
def test_a_damaged_manifest_is_told(store: Store, image: Image, content: bytes) -> None:
    (image.directory / "manifest").write_bytes(content)
    (damage,) = damages(store)
    assert str(image.directory / "manifest") in damage


def test_a_manifest_that_is_not_one_of_its_index_is_told(store: Store, image: Image) -> None:
    manifest = image.directory / "manifest"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    assert damages(store) == [f"{manifest}: is not one of its index"]


def test_a_manifest_of_another_digest_than_its_name_is_told(store: Store, image: Image) -> None:
    pinned = REFERENCE.pinned(image.manifest.digest)
    store.images.publish(pinned, image.manifest, None)
    assert damages(store, pinned) == []
    manifest = store.images.directory(pinned) / "manifest"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    (damage,) = damages(store, pinned)
    assert "the manifest here has digest" in damage


def test_a_tag_is_an_image_of_the_same_blobs_that_outlives_the_first(store: Store, image: Image) -> None:
    target = ImageReference.parse("mine:2")
    tagged = store.images.tag(REFERENCE, target)
    assert (tagged.digest, tagged.manifest) == (image.digest, image.manifest)
    store.images.remove(REFERENCE)
    assert damages(store, target) == []
    store.images.remove(target)
    assert list(store.paths.layers.iterdir()) == []


def test_a_tag_that_is_there_or_is_a_digest_is_refused(store: Store, image: Image) -> None:
    with pytest.raises(StoreError, match="already there"):
        store.images.tag(REFERENCE, REFERENCE)
    with pytest.raises(UsageError, match="digest"):
        store.images.tag(REFERENCE, REFERENCE.pinned(image.digest))
    with pytest.raises(NotFoundError):
        store.images.tag(ImageReference.parse("nosuch"), ImageReference.parse("other"))


def test_protection_is_an_empty_file_and_can_be_set_and_taken_twice(store: Store, image: Image) -> None:
    for _ in range(2):
        protect(image.directory, 0o644)
        assert (image.directory / "PROTECT").read_bytes() == b""
        assert store.images.is_protected(image.directory)
        assert damages(store) == []
    for _ in range(2):
        unprotect(image.directory)
        assert not is_protected(image.directory)


def made(containers: ContainerStore) -> Path:
    return Path(containers.create("img:1", {}, lambda root: None).directory)


def test_a_whole_container_has_no_damage(store: Store) -> None:
    assert list(verify_container(made(store.containers))) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("container.json", b""),
        ("container.json", b'{"config": 5}'),
        ("imagerepo.name", b"\xff"),
        ("udocker.json", b"{"),
    ],
)
def test_a_containers_damaged_metadata_is_told(store: Store, name: str, content: bytes) -> None:
    directory = made(store.containers)
    (directory / name).write_bytes(content)
    (damage,) = verify_container(directory)
    assert damage.what.startswith(f"{directory / name}: ")


def test_what_a_container_lacks_is_told(store: Store) -> None:
    directory = made(store.containers)
    (directory / "ROOT").rename(store.paths.root / "elsewhere")
    for name in ("container.json", "imagerepo.name", "udocker.json"):
        (directory / name).unlink()
    missing = [str(directory / name) for name in ("ROOT", "container.json", "imagerepo.name")]
    assert [damage.what for damage in verify_container(directory)] == [f"{path}: missing" for path in missing]
