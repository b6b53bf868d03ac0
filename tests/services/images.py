"""Images made of nothing: layers, configurations, manifests and indexes as bytes, always the same ones.

::

    builder = ImageBuilder()
    layer = builder.layer([directory("tmp", 0o1777), file("etc/motd", b"hello\\n")], "zstd")
    image = builder.image([layer], entrypoint=["/bin/app"], env=["A=1"])
    builder.push("http://127.0.0.1:5000", "team/app", "1.0", image)
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urljoin, urlsplit

import requests
import zstandard

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_SUFFIXES = {"gzip": "+gzip", "zstd": "+zstd", "plain": ""}
_TIMEOUT = 30


@dataclass(frozen=True)
class Member:
    """One entry of a layer."""

    info: tarfile.TarInfo
    data: bytes = b""


def member(name: str, kind: bytes, data: bytes = b"", **fields: Any) -> Member:
    """Any entry: ``kind`` is one of tarfile's types, ``fields`` are attributes of tarfile.TarInfo."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(data), 1_000_000_000
    for attribute, value in fields.items():
        setattr(info, attribute, value)
    return Member(info, data)


def file(name: str, data: bytes = b"", mode: int = 0o644, **fields: Any) -> Member:
    """A regular file."""
    return member(name, tarfile.REGTYPE, data, mode=mode, **fields)


def directory(name: str, mode: int = 0o755, **fields: Any) -> Member:
    """A directory."""
    return member(name, tarfile.DIRTYPE, mode=mode, **fields)


def symlink(name: str, target: str, **fields: Any) -> Member:
    """A symbolic link."""
    return member(name, tarfile.SYMTYPE, linkname=target, mode=0o777, **fields)


def hardlink(name: str, target: str, **fields: Any) -> Member:
    """A hard link to an earlier member."""
    return member(name, tarfile.LNKTYPE, linkname=target, **fields)


def whiteout(name: str) -> Member:
    """The mark that removes ``name`` of a lower layer (OCI image specification, layer.md)."""
    parent, slash, last = name.rpartition("/")
    return file(f"{parent}{slash}.wh.{last}")


def opaque(name: str) -> Member:
    """The mark that hides everything that lower layers have in the directory ``name``."""
    return file(f"{name}/.wh..wh..opq")


@dataclass(frozen=True)
class Blob:
    """Bytes with their media type; ``diff_id`` is set for layers, ``platform`` for what goes in an index."""

    media_type: str
    data: bytes = field(repr=False)
    diff_id: str = ""
    platform: str = ""

    @property
    def digest(self) -> str:
        """The sha256 digest, as text."""
        return digest_of(self.data)

    def descriptor(self) -> dict[str, Any]:
        """The descriptor as a JSON object."""
        described: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.data),
        }
        if self.platform:
            system, architecture, *variant = self.platform.split("/")
            described["platform"] = {"os": system, "architecture": architecture}
            if variant:
                described["platform"]["variant"] = variant[0]
        return described


def digest_of(data: bytes) -> str:
    """The sha256 digest of ``data``, as text."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class ImageBuilder:
    """Makes blobs, and remembers them by digest for pushes and registries."""

    def __init__(self) -> None:
        self.blobs: dict[str, Blob] = {}

    def add(self, blob: Blob) -> Blob:
        """Remember a blob made elsewhere."""
        self.blobs[blob.digest] = blob
        return blob

    def layer(self, members: Iterable[Member], compression: str = "gzip", docker: bool = False) -> Blob:
        """A layer of ``members``, compressed by ``gzip``, ``zstd`` or not at all (``plain``)."""
        tar = tar_of(members)
        kind = DOCKER_LAYER if docker else OCI_LAYER + _SUFFIXES[compression]
        return self.add(Blob(kind, compress(tar, compression), diff_id=digest_of(tar)))

    def config(
        self,
        layers: Sequence[Blob],
        platform: str = "linux/amd64",
        *,
        entrypoint: Sequence[str] = (),
        cmd: Sequence[str] = (),
        env: Sequence[str] = (),
        workdir: str = "",
        user: str = "",
        docker: bool = False,
        **extra: Any,
    ) -> Blob:
        """An image configuration; ``extra`` goes into its top level."""
        system, architecture, *variant = platform.split("/")
        document = {
            "architecture": architecture,
            "os": system,
            **({"variant": variant[0]} if variant else {}),
            "config": {
                "Entrypoint": list(entrypoint),
                "Cmd": list(cmd),
                "Env": list(env),
                "WorkingDir": workdir,
                "User": user,
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            **extra,
        }
        return self.add(Blob(DOCKER_CONFIG if docker else OCI_CONFIG, _json(document), platform=platform))

    def manifest(self, config: Blob, layers: Sequence[Blob], docker: bool = False) -> Blob:
        """A manifest; it keeps the configuration's platform for an index."""
        kind = DOCKER_MANIFEST if docker else OCI_MANIFEST
        document = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": _without_platform(config),
            "layers": [layer.descriptor() for layer in layers],
        }
        return self.add(Blob(kind, _json(document), platform=config.platform))

    def image(
        self, layers: Sequence[Blob], platform: str = "linux/amd64", docker: bool = False, **config: Any
    ) -> Blob:
        """Configuration and manifest in one; the keywords are those of ``config``."""
        return self.manifest(self.config(layers, platform, docker=docker, **config), layers, docker)

    def index(self, manifests: Sequence[Blob], docker: bool = False) -> Blob:
        """An index of manifests (or of indexes), each under its platform."""
        kind = DOCKER_LIST if docker else OCI_INDEX
        entries = [manifest.descriptor() for manifest in manifests]
        return self.add(Blob(kind, _json({"schemaVersion": 2, "mediaType": kind, "manifests": entries})))

    def parts(self, image: Blob) -> list[Blob]:
        """``image`` and every blob below it, lowest first: the order in which a registry takes them."""
        document = json.loads(image.data) if "json" in image.media_type else {}
        below = [*document.get("manifests", ()), *document.get("layers", ())]
        if "manifests" not in document and isinstance(document.get("config"), dict):
            below += [document["config"]] if "digest" in document["config"] else []
        found = [part for entry in below for part in self.parts(self.blobs[entry["digest"]])]
        return [*found, image]

    def push(
        self,
        base_url: str,
        repository: str,
        tag: str,
        image: Blob,
        auth: Optional[tuple[str, str]] = None,
        insecure: bool = False,
        token: str = "",
    ) -> str:
        """Push an image or index to a registry by the standard protocol; returns its digest."""
        with requests.Session() as session:
            session.auth = auth
            session.verify, session.trust_env = not insecure, not insecure
            session.headers.update({"Authorization": f"Bearer {token}"} if token else {})
            base = f"{base_url.rstrip('/')}/v2/{repository}"
            for part in self.parts(image):
                if part.media_type in (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST):
                    _put_manifest(session, f"{base}/manifests/{part.digest}", part)
                else:
                    _put_blob(session, base, part)
            _put_manifest(session, f"{base}/manifests/{tag}", image)
        return image.digest

    def write_layout(self, path: Path, image: Blob, name: str) -> None:
        """Write an OCI image layout that names ``image`` (OCI image specification, image-layout.md)."""
        blobs = path / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        for part in self.parts(image):
            (blobs / part.digest.partition(":")[2]).write_bytes(part.data)
        entry = {**image.descriptor(), "annotations": {"org.opencontainers.image.ref.name": name}}
        (path / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [entry]}))
        (path / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def tar_of(members: Iterable[Member]) -> bytes:
    """An uncompressed tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for item in members:
            archive.addfile(item.info, io.BytesIO(item.data))
    return buffer.getvalue()


def compress(data: bytes, compression: str) -> bytes:
    """``data`` by ``gzip``, ``zstd`` or ``plain``, without a time stamp in it."""
    if compression == "gzip":
        return gzip.compress(data, mtime=0)
    if compression == "zstd":
        return zstandard.ZstdCompressor().compress(data)
    return data


def _json(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True).encode()


def _without_platform(blob: Blob) -> dict[str, Any]:
    return {key: value for key, value in blob.descriptor().items() if key != "platform"}


def _put_manifest(session: requests.Session, url: str, blob: Blob) -> None:
    answer = session.put(url, data=blob.data, headers={"Content-Type": blob.media_type}, timeout=_TIMEOUT)
    answer.raise_for_status()


def _put_blob(session: requests.Session, base: str, blob: Blob) -> None:
    if session.head(f"{base}/blobs/{blob.digest}", timeout=_TIMEOUT).status_code == 200:
        return
    started = session.post(f"{base}/blobs/uploads/", timeout=_TIMEOUT)
    started.raise_for_status()
    # The location may be relative and may have a query already.
    target = urljoin(f"{base}/blobs/uploads/", started.headers["Location"])
    joint = "&" if urlsplit(target).query else "?"
    headers = {"Content-Type": "application/octet-stream"}
    url = f"{target}{joint}digest={blob.digest}"
    session.put(url, data=blob.data, headers=headers, timeout=_TIMEOUT).raise_for_status()
