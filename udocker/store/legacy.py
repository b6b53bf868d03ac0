"""Images that udocker 1.3 made by load and import: no manifest, and layers named by anything but a digest.

::

    ancestry           a JSON array of layer ids, the topmost first
    <id>.layer         links to the layers
    container.json     a link to the configuration; else <topmost id>.json is it
    v1                 empty: says that it is such an image
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from udocker.errors import StoreCorrupt
from udocker.model.digest import Digest
from udocker.model.manifest import DOCKER_MANIFEST, Manifest, parse_manifest
from udocker.values import dataclass

ANCESTRY, VERSION = "ancestry", "v1"
_CONFIG = "container.json"
_REMEDY = "remove it and load or import it again"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class LegacyImage:
    """The manifest that such an image would have, and where what it names lies."""

    manifest: Manifest
    places: Mapping[Digest, Path]


def is_legacy(directory: Path) -> bool:
    """Whether a directory of an image is in this format."""
    return (directory / ANCESTRY).is_file() and not (directory / "manifest").is_file()


def legacy_files(directory: Path) -> tuple[Path, ...]:
    """The configuration and the layers, lowest first, there or not; raises StoreCorrupt."""
    path = directory / ANCESTRY
    try:
        ids = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StoreCorrupt(f"image: {path}: {error}", _REMEDY) from None
    if not isinstance(ids, list) or not ids or not all(_is_plain(name) for name in ids):
        raise StoreCorrupt(f"image: {path}: not an array of layer ids", _REMEDY)
    config = directory / _CONFIG
    if not config.exists():
        config = directory / f"{ids[0]}.json"
    return (config, *(directory / f"{name}.layer" for name in reversed(ids)))


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and bool(name) and "/" not in name and "\0" not in name


def read_legacy(directory: Path) -> LegacyImage:
    """Read such an image, hashing its layers, which nobody has done before; raises StoreCorrupt."""
    sizes, places = [], {}
    for path in legacy_files(directory):
        try:
            digest = _digest(path)
            sizes.append((digest, path.stat().st_size))
            places[digest] = path.resolve()
        except OSError as error:
            raise StoreCorrupt(f"image: {path}: {error.strerror}", _REMEDY) from error
    descriptors = [_descriptor(digest, size) for digest, size in sizes]
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": descriptors[0],
        "layers": descriptors[1:],
    }
    manifest = parse_manifest(json.dumps(document, separators=(",", ":")).encode())
    return LegacyImage(cast(Manifest, manifest), places)


def _digest(path: Path) -> Digest:
    import hashlib  # few stores have such images

    hasher = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            hasher.update(block)
    return Digest.parse(f"sha256:{hasher.hexdigest()}")


def _descriptor(digest: Digest, size: int) -> dict[str, Any]:
    return {"mediaType": "application/octet-stream", "size": size, "digest": str(digest)}
