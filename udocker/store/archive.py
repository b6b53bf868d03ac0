"""Images in the format of ``docker save`` (Docker Image Specification v1.2, "Combined Image JSON").

``manifest.json`` names each image's configuration and layers.  Older programs, udocker 1.3 among them,
read ``repositories`` and a directory for each layer with ``VERSION``, ``json`` and ``layer.tar``: both are
written.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Optional, cast

from udocker.errors import StoreCorrupt, UsageError
from udocker.model.digest import Digest
from udocker.model.manifest import DOCKER_MANIFEST, ImageConfig, ImageIndex, Manifest, parse_manifest
from udocker.store.compression import open_layer
from udocker.store.members import Member, Members, measure

MANIFEST = "manifest.json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar"
_GZIP = b"\x1f\x8b"
_NAMED_BY_DIGEST = re.compile(r"(?:.*/)?([a-f0-9]{64})(?:\.json)?")


@dataclass(frozen=True)
class ArchivedImage:
    """An image read from an archive: ``names`` as written there, ``layers`` in the manifest's order."""

    names: tuple[str, ...]
    config_raw: bytes = field(repr=False)
    layers: tuple[Member, ...]
    manifest: Manifest
    index: Optional[ImageIndex] = None


@dataclass(frozen=True)
class SavedLayer:
    """A layer of the store: ``size`` and ``diff_id`` are those of its plain tar."""

    path: Path
    size: int
    diff_id: Digest


@dataclass(frozen=True)
class SavedImage:
    """An image to write, with its names as (repository, tag) pairs."""

    names: tuple[tuple[str, str], ...]
    config_raw: bytes = field(repr=False)
    layers: tuple[SavedLayer, ...]


def read_docker_archive(members: Members) -> list[ArchivedImage]:
    """The images of an archive, every layer verified; raises StoreCorrupt, UnpackError."""
    entries = members.get(MANIFEST).json()
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise StoreCorrupt(f"archive: {MANIFEST}: not an array of objects")
    return [_read_image(members, entry) for entry in entries]


def _read_image(members: Members, entry: dict[str, Any]) -> ArchivedImage:
    config = members.get(entry.get("Config"), "configuration")
    named = _NAMED_BY_DIGEST.fullmatch(entry["Config"])
    if named and named[1] != config.digest.hex:
        raise StoreCorrupt(f"archive: {config.name}: its content has digest {config.digest}")
    raw = config.read()
    offered = [members.get(name, "layer") for name in strings(entry, "Layers")]
    layers = match_layers(ImageConfig.parse(raw), offered)
    return ArchivedImage(tuple(strings(entry, "RepoTags")), raw, layers, docker_manifest(raw, layers))


def strings(entry: dict[str, Any], key: str) -> list[str]:
    """An array of strings, which may be null as Go writes an empty one; raises StoreCorrupt."""
    value = entry.get(key)
    value = [] if value is None else value
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise StoreCorrupt(f"archive: {MANIFEST}: {key}: not an array of strings")
    return value


def diff_ids(config: ImageConfig) -> list[Digest]:
    """The digests of the uncompressed layers, lowest first; raises StoreCorrupt."""
    rootfs = config.document.get("rootfs")
    values = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if values is None and isinstance(rootfs, dict):
        values = []  # as Go writes an empty array
    if not isinstance(values, list):
        raise StoreCorrupt("image configuration: rootfs.diff_ids: not an array", "is this an image?")
    try:
        return [Digest.parse(str(value)) for value in values]
    except UsageError as error:
        raise StoreCorrupt(f"image configuration: rootfs.diff_ids: {error.message}") from None


def match_layers(config: ImageConfig, offered: Sequence[Member]) -> tuple[Member, ...]:
    """The layers that the configuration asks for, in its order; raises StoreCorrupt where they differ.

    udocker 1.3 writes a layer that occurs twice once, so only the digests decide.
    """
    wanted = diff_ids(config)
    plain = {layer.digest: layer for layer in offered}
    known = {**{layer.diff_id: layer for layer in offered if layer.digest not in wanted}, **plain}
    missing = [digest for digest in wanted if digest not in known]
    if missing:
        raise StoreCorrupt(f"archive: layer {missing[0]}: no layer of the archive has this digest")
    foreign = [layer for layer in offered if not {layer.digest, layer.diff_id}.intersection(wanted)]
    if foreign:
        raise StoreCorrupt(f"archive: {foreign[0].name}: not a layer of its image's configuration")
    return tuple(known[digest] for digest in wanted)


def docker_manifest(config_raw: bytes, layers: Sequence[Member]) -> Manifest:
    """The manifest under which a registry would hold a configuration and layers as they are."""
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": _descriptor(_CONFIG_TYPE, len(config_raw), Digest.of(config_raw)),
        "layers": [_descriptor(_media_type(layer.path), layer.size, layer.digest) for layer in layers],
    }
    manifest = parse_manifest(json.dumps(document, separators=(",", ":")).encode())
    return cast(Manifest, manifest)


def _descriptor(media_type: str, size: int, digest: Digest) -> dict[str, Any]:
    return {"mediaType": media_type, "size": size, "digest": str(digest)}


def _media_type(path: Path) -> str:
    with path.open("rb") as stream:
        return _LAYER_TYPE + (".gzip" if stream.read(2) == _GZIP else "")


def saved_layers(config: ImageConfig, paths: Sequence[Path]) -> tuple[SavedLayer, ...]:
    """Layers of the store, verified against the configuration; raises StoreCorrupt, UnpackError."""
    wanted = diff_ids(config)
    known = {path: SavedLayer(path, *measure(path)) for path in dict.fromkeys(paths)}
    layers = tuple(known[path] for path in paths)
    if [layer.diff_id for layer in layers] != wanted:
        raise StoreCorrupt("save: the layers are not those of the image's configuration", "pull it again")
    return layers


def write_docker_archive(images: Sequence[SavedImage], stream: BinaryIO) -> None:
    """Write an archive, the same bytes for the same images; raises OSError, UnpackError."""
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        writer = _Writer(archive)
        for image in images:
            writer.add(image)
        writer.finish()


class _Writer:
    """An archive being written; what several images share is in it once."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._written: set[str] = set()
        self._layers: dict[Digest, str] = {}
        self._manifest: list[dict[str, Any]] = []
        self._repositories: dict[str, dict[str, str]] = {}

    def add(self, image: SavedImage) -> None:
        """Write one image's configuration and layers."""
        config = f"{Digest.of(image.config_raw).hex}.json"
        self._file(config, image.config_raw)
        parent, files = "", []
        for layer in image.layers:
            parent = self._layer(layer, parent)
            files.append(self._layers[layer.diff_id])
        tags = [f"{repository}:{tag}" for repository, tag in image.names]
        self._manifest.append({"Config": config, "RepoTags": tags, "Layers": files})
        for repository, tag in image.names if parent else ():
            self._repositories.setdefault(repository, {})[tag] = parent

    def finish(self) -> None:
        """Write what tells of all images."""
        self._file(MANIFEST, json.dumps(self._manifest).encode())
        if self._repositories:
            self._file("repositories", json.dumps(self._repositories).encode())

    def _layer(self, layer: SavedLayer, parent: str) -> str:
        """Write a layer's directory; its name, which says what lies below the layer as well."""
        name = hashlib.sha256(f"{parent} {layer.diff_id}".encode()).hexdigest()
        if name in self._written:
            return name
        self._written.add(name)
        entry = {"id": name, "created": "1970-01-01T00:00:00Z", **({"parent": parent} if parent else {})}
        self._entry(f"{name}/", tarfile.DIRTYPE, 0o755)
        self._file(f"{name}/VERSION", b"1.0")
        self._file(f"{name}/json", json.dumps(entry).encode())
        target = f"{name}/layer.tar"
        first = self._layers.setdefault(layer.diff_id, target)
        if first != target:  # a hard link, because udocker 1.3 moves the files
            self._entry(target, tarfile.LNKTYPE, 0o644, linkname=first)
            return name
        with open_layer(layer.path) as content:
            self._entry(target, tarfile.REGTYPE, 0o644, content, layer.size)
        return name

    def _file(self, name: str, data: bytes) -> None:
        if name not in self._written:
            self._written.add(name)
            self._entry(name, tarfile.REGTYPE, 0o644, io.BytesIO(data), len(data))

    def _entry(
        self, name: str, kind: bytes, mode: int, content: Any = None, size: int = 0, linkname: str = ""
    ) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.size, info.linkname = kind, mode, size, linkname
        self._archive.addfile(info, content)
