"""Images in an OCI image layout that lies in a tar archive (OCI image specification, image-layout.md)."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, Optional

from udocker.errors import StoreCorrupt
from udocker.model.digest import Digest
from udocker.model.manifest import (
    Descriptor,
    ImageConfig,
    ImageIndex,
    Manifest,
    Platform,
    parse_manifest,
)
from udocker.store.archive import ArchivedImage, diff_ids
from udocker.store.members import Member, Members

INDEX = "index.json"
# containerd and docker write the whole name; others a tag or the whole name.
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_COPY = 1 << 20
_MAX_NESTED = 4


def read_oci_archive(members: Members, platform: Platform) -> list[ArchivedImage]:
    """The images of a layout, every blob verified; of those for several machines the one for ``platform``.

    An image that ``index.json`` names several times comes once, with all its names.  Raises StoreCorrupt,
    UnpackError.
    """
    raw = members.get(INDEX).read()
    index = parse_manifest(raw)
    if not isinstance(index, ImageIndex):
        raise StoreCorrupt(f"archive: {INDEX}: not an index")
    document = members.get(INDEX).json()
    names: dict[Digest, list[str]] = {}
    for descriptor, entry in zip(index.manifests, document["manifests"]):
        names.setdefault(descriptor.digest, []).extend(_names(entry))
    entries = {descriptor.digest: descriptor for descriptor in index.manifests}
    return [_image(members, entries[digest], platform, tuple(names[digest])) for digest in entries]


def _names(entry: dict[str, Any]) -> list[str]:
    annotations = entry.get("annotations")
    if not isinstance(annotations, dict):
        return []
    name = next((annotations[key] for key in _NAMES if annotations.get(key)), None)
    return [name] if isinstance(name, str) else []


def _image(
    members: Members, descriptor: Descriptor, platform: Platform, names: tuple[str, ...]
) -> ArchivedImage:
    index: Optional[ImageIndex] = None
    for _ in range(_MAX_NESTED):
        document = parse_manifest(_blob(members, descriptor).read(), descriptor.media_type)
        if isinstance(document, Manifest):
            config_raw = _blob(members, document.config).read()
            layers = [_blob(members, layer) for layer in document.layers]
            _check(ImageConfig.parse(config_raw), layers)
            return ArchivedImage(names, config_raw, tuple(layers), document, index)
        index = document
        descriptor = _choose(document, platform)
    raise StoreCorrupt(f"archive: {INDEX}: indexes nested deeper than {_MAX_NESTED}")


def _check(config: ImageConfig, layers: list[Member]) -> None:
    wanted = diff_ids(config)
    if len(wanted) != len(layers):
        raise StoreCorrupt(f"archive: {len(layers)} layers, but the configuration has {len(wanted)}")
    for layer, diff_id in zip(layers, wanted):
        if diff_id not in (layer.digest, layer.diff_id):
            raise StoreCorrupt(f"archive: {layer.name}: its content is not the configuration's {diff_id}")


def _choose(index: ImageIndex, platform: Platform) -> Descriptor:
    if len(index.manifests) == 1:
        return index.manifests[0]
    chosen = index.choose(platform)
    if chosen is None:
        offered = ", ".join(index.platforms()) or "none that is named"
        raise StoreCorrupt(f"archive: no image for {platform}", f"it holds: {offered}")
    return chosen


def _blob(members: Members, descriptor: Descriptor) -> Member:
    digest = descriptor.digest
    member = members.get(f"blobs/{digest.algorithm}/{digest.hex}", "blob")
    if member.size != descriptor.size or not _matches(member, digest):
        raise StoreCorrupt(f"archive: {member.name}: its content does not match its digest and size")
    return replace(member, digest=digest)


def _matches(member: Member, digest: Digest) -> bool:
    if digest.algorithm == member.digest.algorithm:
        return digest == member.digest
    hasher = hashlib.new(digest.algorithm)
    with member.path.open("rb") as stream:
        while block := stream.read(_COPY):
            hasher.update(block)
    return hasher.hexdigest() == digest.hex
