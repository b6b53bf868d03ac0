"""A client of an image in a registry that fails on order, for the tests of the client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.services.faulty_registry import FaultyRegistry
from tests.services.images import Blob, ImageBuilder, directory, file
from udocker.config import Config
from udocker.model.manifest import Descriptor, Platform
from udocker.model.reference import ImageReference
from udocker.registry.client import RegistryClient

AMD64 = Platform("linux", "amd64")
BLOB = "GET .*/blobs/"
MANIFEST = "GET .*/manifests/"
CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Pull:
    """A client of one image with its pauses written down instead of waited for."""

    def __init__(self, registry: FaultyRegistry, tmp_path: Path, name: str = "team/app:1", **settings: Any):
        self.pauses: list[float] = []
        self.path = tmp_path / "partial"
        values = {"registry_retries": 3, "registry_timeout": 5.0, **settings}
        config = Config(udocker_dir=tmp_path, **values)
        reference = ImageReference.parse(f"{registry.host}/{name}")
        self.client = RegistryClient(config, reference, sleep=self.pauses.append)

    def content(self, blob: Blob) -> bytes:
        self.client.blob(described(blob), self.path)
        return self.path.read_bytes()


def described(blob: Blob) -> Descriptor:
    return Descriptor.from_json(blob.descriptor(), "blob")


def put_blob(registry: FaultyRegistry, data: bytes = CONTENT) -> Blob:
    blob = Blob("application/octet-stream", data)
    registry.put("team/app", blob.digest, blob)
    return blob


def put_image(registry: FaultyRegistry, *platforms: str, **config: Any) -> tuple[ImageBuilder, Blob]:
    """An index for several platforms, a single manifest for one."""
    builder = ImageBuilder()
    layer = builder.layer([directory("etc"), file("etc/motd", b"hello\n")])
    images = [builder.image([layer], platform, **config) for platform in platforms or ("linux/amd64",)]
    image = builder.index(images) if len(images) > 1 else images[0]
    registry.add(builder, "team/app", "1", image)
    return builder, image
