"""What is damaged in an image or a container: everything that can be known without the registry."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from udocker.errors import StoreCorrupt, StoreError, UsageError
from udocker.model.manifest import Descriptor, ImageConfig
from udocker.model.reference import ImageReference
from udocker.store.images import Image
from udocker.store.members import check_tree
from udocker.store.store import Store

_BLOCK = 1 << 20
_PULL, _CREATE = "pull the image again", "remove and create it again"


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong, as ``object: cause``, and what to do about it."""

    what: str
    remedy: str


def verify_image(store: Store, reference: ImageReference) -> Iterator[Damage]:
    """The damages of an image: none where every blob and the manifest are what their digests say.

    Raises NotFoundError.
    """
    try:
        image = store.images.load(reference)
    except StoreCorrupt as error:
        yield Damage(error.message, error.hint or _PULL)
        return
    if image.places:
        yield from _legacy(store, image)
        return
    if (image.directory / "index").is_file() and image.digest == image.manifest.digest:
        yield Damage(f"{image.directory / 'manifest'}: is not one of its index", _PULL)
    blobs = {descriptor.digest: descriptor for descriptor in (image.manifest.config, *image.manifest.layers)}
    sound = True
    for descriptor in blobs.values():
        for damage in (*_blob(store, descriptor), *_link(store, image, descriptor)):
            sound = False
            yield damage
    if sound:
        yield from _configuration(store, image)


def verify_container(directory: Path) -> Iterator[Damage]:
    """The damages of a container's directory: of its metadata, because its files are free to change."""
    if not (directory / "ROOT").is_dir():
        yield Damage(f"{directory / 'ROOT'}: missing", _CREATE)
    for name, check in _METADATA.items():
        path = directory / name
        try:
            check(path.read_bytes())
        except FileNotFoundError:
            if name not in _OPTIONAL:
                yield Damage(f"{path}: missing", _CREATE)
        except OSError as error:
            yield Damage(f"{path}: {error.strerror}", _CREATE)
        except StoreCorrupt as error:
            yield Damage(f"{path}: {error.message}", _CREATE)


def _legacy(store: Store, image: Image) -> Iterator[Damage]:
    """What can be known of an image of udocker 1.3's older format: that its layers are whole archives."""
    for layer in image.manifest.layers:
        path = image.places[layer.digest]
        try:
            check_tree(path)
        except StoreError as error:
            yield Damage(f"{path}: {error.message}", "remove the image and load or import it again")
    yield from _configuration(store, image)


def _blob(store: Store, descriptor: Descriptor) -> Iterator[Damage]:
    path = store.layers.path(descriptor.digest)
    remedy = f"remove that file and {_PULL}"  # a pull takes a file of the right size as it is
    hasher = descriptor.digest.hasher()
    try:
        size = path.stat().st_size
        if size != descriptor.size:
            yield Damage(f"{path}: {size} bytes instead of {descriptor.size}", _PULL)
            return
        with open(path, "rb", buffering=0) as stream:
            while block := stream.read(_BLOCK):
                hasher.update(block)
    except FileNotFoundError:
        yield Damage(f"{path}: missing", _PULL)
    except OSError as error:
        yield Damage(f"{path}: {error.strerror}", remedy)
    else:
        if hasher.hexdigest() != descriptor.digest.hex:
            yield Damage(f"{path}: its content has another digest", remedy)


def _link(store: Store, image: Image, descriptor: Descriptor) -> Iterator[Damage]:
    """The image's link to the blob, which keeps it from being removed with another image."""
    link, path = image.directory / str(descriptor.digest), store.layers.path(descriptor.digest)
    if path.exists() and not (link.is_symlink() and link.exists() and os.path.samefile(link, path)):
        yield Damage(f"{link}: is no link to {path}", f"remove it and {_PULL}")


def _configuration(store: Store, image: Image) -> Iterator[Damage]:
    try:
        store.images.config(image)
    except StoreCorrupt as error:
        yield Damage(f"{store.layers.path(image.manifest.config.digest)}: {error.message}", _PULL)


def _check_name(raw: bytes) -> None:
    if raw.strip() in _NO_IMAGE:
        return
    try:
        ImageReference.parse(os.fsdecode(raw).strip())
    except UsageError as error:
        raise StoreCorrupt(error.message) from None


def _check_json(raw: bytes) -> None:
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        raise StoreCorrupt("not JSON") from None


def _check_config(raw: bytes) -> None:
    ImageConfig.parse(raw)


# What udocker writes where a container comes from an archive.
_NO_IMAGE = (b"IMPORTED:unknown", b"CLONING:inprogress")
_METADATA = {"container.json": _check_config, "imagerepo.name": _check_name, "udocker.json": _check_json}
_OPTIONAL = ("udocker.json",)  # udocker 1.3 makes none
