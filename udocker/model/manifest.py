"""Manifests, indexes and image configurations (OCI image specification; docker schema 2).

Raw bytes are kept, because the digest of a manifest is that of its bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Optional, Union

from udocker.errors import StoreCorrupt, UsageError
from udocker.model.digest import Digest
from udocker.values import dataclass, field

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

# Names that uname(2) and users give to machines, and those of Go that images carry.
ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armv8": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i386": "386",
    "i486": "386",
    "i586": "386",
    "i686": "386",
}


@dataclass(frozen=True)
class Platform:
    """``os/architecture[/variant]`` in Go's names."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``linux/arm64/v8``; raises UsageError."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise UsageError(f"platform: {text!r}: not of the form os/architecture", "as in linux/amd64")
        return cls(parts[0], ARCHITECTURES.get(parts[1], parts[1]), parts[2] if len(parts) == 3 else "")

    @classmethod
    def host(cls) -> Platform:
        """This machine's."""
        machine = os.uname().machine
        return cls("linux", ARCHITECTURES.get(machine, machine))

    @classmethod
    def from_json(cls, value: Any) -> Platform:
        """Read the ``platform`` object of a descriptor, or an image configuration."""
        if not isinstance(value, Mapping):
            return cls("unknown", "unknown")
        fields = (value.get("os"), value.get("architecture"), value.get("variant") or "")
        system, architecture, variant = (str(item or "unknown") if item != "" else "" for item in fields)
        return cls(system, architecture, variant)

    def accepts(self, offered: Platform) -> bool:
        """Whether an image built for ``offered`` is what this platform asks for."""
        same = (self.os, self.architecture) == (offered.os, offered.architecture)
        return same and (not self.variant or self.variant == offered.variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


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
    document = _json_object(raw, "manifest")
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


@dataclass(frozen=True)
class ImageConfig:
    """What an image says about running it (OCI image specification, config.md).

    ``entrypoint`` and ``cmd`` are argument vectors; ``env`` keeps the image's order.  ``document`` is
    the whole JSON object as it came.
    """

    document: Mapping[str, Any] = field(repr=False, compare=False)
    platform: Platform
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    user: str = ""
    volumes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, raw: bytes) -> ImageConfig:
        """Read an image configuration; raises StoreCorrupt."""
        document = _json_object(raw, "image configuration")
        config = document.get("config")
        if config is None:
            config = document.get("container_config") or {}
        if not isinstance(config, Mapping):
            raise StoreCorrupt("image configuration: config: not an object")
        return cls(
            document=document,
            platform=Platform.from_json(document),
            entrypoint=_vector(config, "Entrypoint"),
            cmd=_vector(config, "Cmd"),
            env=tuple(_pair(entry) for entry in _strings(config, "Env")),
            workdir=_text(config, "WorkingDir"),
            user=_text(config, "User"),
            volumes=_names(config, "Volumes"),
        )


def _json_object(raw: bytes, what: str) -> Mapping[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise StoreCorrupt(f"{what}: not JSON") from None
    if not isinstance(document, dict):
        raise StoreCorrupt(f"{what}: not a JSON object")
    return document


def _array(document: Mapping[str, Any], key: str) -> list[Any]:
    value = document.get(key)
    if not isinstance(value, list):
        raise StoreCorrupt(f"manifest: {key}: not an array", "is this reference an image?")
    return value


def _strings(config: Mapping[str, Any], key: str) -> list[str]:
    value = config.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise StoreCorrupt(f"image configuration: {key}: not an array of strings")
    return value


def _vector(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """An argument vector; the string form of some tools is a program, or a shell's command line."""
    value = config.get(key)
    if isinstance(value, str):
        words = value.split()
        return ("/bin/sh", "-c", value) if len(words) > 1 else tuple(words)
    return tuple(_strings(config, key))


def _names(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The keys of a set, which the specification writes as an object; some tools write a list."""
    value = config.get(key) or {}
    if not isinstance(value, (dict, list)) or not all(isinstance(item, str) for item in value):
        raise StoreCorrupt(f"image configuration: {key}: not a set of paths")
    return tuple(value)


def _text(config: Mapping[str, Any], key: str) -> str:
    value = config.get(key) or ""
    if not isinstance(value, str):
        raise StoreCorrupt(f"image configuration: {key}: not a string")
    return value


def _pair(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return name, value
