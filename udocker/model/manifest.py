"""Manifests and indexes (OCI image specification; docker schema 2).

Raw bytes are kept, because the digest of a manifest is that of its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

from udocker.errors import StoreCorrupt, UsageError
from udocker.model.digest import Digest
from udocker.model.imageconfig import ImageConfig as ImageConfig
from udocker.model.imageconfig import Platform as Platform
from udocker.model.imageconfig import json_object
from udocker.values import TYPE_CHECKING, dataclass, field

if TYPE_CHECKING:
    from typing import Any, Optional, Union

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)


@dataclass(frozen=True)
class Descriptor:
    """A blob or manifest by digest: ``size`` is in bytes, ``urls`` are other places that may have it."""

    media_type: str
    digest: Digest
    size: int
    platform: Optional[Platform] = None
    urls: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Any, what: str) -> Descriptor:
        """Read a descriptor object; raises StoreCorrupt naming ``what`` it stood for."""
        if not isinstance(value, Mapping):
            raise StoreCorrupt(f"manifest: {what}: not an object")
        size = value.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise StoreCorrupt(f"manifest: {what}: size {size!r} is not a number of bytes")
        try:
            digest = Digest.parse(str(value.get("digest")))
        except UsageError as error:
            raise StoreCorrupt(f"manifest: {what}: {error.message}") from None
        platform = Platform.from_json(value["platform"]) if "platform" in value else None
        urls = value.get("urls")
        places = tuple(url for url in urls if isinstance(url, str)) if isinstance(urls, list) else ()
        return cls(str(value.get("mediaType") or ""), digest, size, platform, places)


@dataclass(frozen=True)
class Manifest:
    """An image for one platform: its configuration and its layers, lowest first."""

    raw: bytes = field(repr=False)
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def digest(self) -> Digest:
        """The digest of the raw bytes."""
        return Digest.of(self.raw)


@dataclass(frozen=True)
class ImageIndex:
    """An image for several platforms."""

    raw: bytes = field(repr=False)
    media_type: str
    manifests: tuple[Descriptor, ...]

    @property
    def digest(self) -> Digest:
        """The digest of the raw bytes."""
        return Digest.of(self.raw)

    def choose(self, platform: Platform) -> Optional[Descriptor]:
        """The first manifest for ``platform``, or None."""
        for entry in self.manifests:
            if entry.platform is not None and platform.accepts(entry.platform):
                return entry
        return None

    def platforms(self) -> list[str]:
        """Every platform offered, as text; attestations ("unknown") are left out."""
        offered = [str(entry.platform) for entry in self.manifests if entry.platform]
        return [name for name in offered if not name.startswith("unknown")]


def parse_manifest(raw: bytes, media_type: str = "") -> Union[Manifest, ImageIndex]:
    """Read a manifest or an index from its bytes.

    ``media_type`` is the registry's Content-Type; where the document has a mediaType of its own, that
    one counts.  Raises StoreCorrupt for anything that is neither, schema 1 included.
    """
    document = json_object(raw, "manifest")
    kind = str(document.get("mediaType") or media_type.split(";")[0].strip())
    if kind in DOCKER_SCHEMA1 or document.get("schemaVersion") == 1:
        raise StoreCorrupt(
            "manifest: schema 1: this format is no longer supported",
            "ask the image's maintainers to push it again with a current docker",
        )
    if kind in INDEX_TYPES or (kind not in MANIFEST_TYPES and "manifests" in document):
        entries = _array(document, "manifests")
        return ImageIndex(raw, kind, tuple(Descriptor.from_json(entry, "manifests") for entry in entries))
    config = Descriptor.from_json(document.get("config"), "config")
    layers = tuple(Descriptor.from_json(layer, "layers") for layer in _array(document, "layers"))
    return Manifest(raw, kind, config, layers)


def _array(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list):
        raise StoreCorrupt(f"manifest: {key}: not an array", "is this reference an image?")
    return value
