"""The demo's image and registry, and the client."""

from __future__ import annotations

import io
import tarfile

import pytest
import zstandard

from demo.image import PROGRAM, TAG, make_image
from demo.registry import LayoutRegistry
from udocker.config import Config
from udocker.errors import RegistryError
from udocker.model.manifest import Platform
from udocker.model.reference import ImageReference
from udocker.registry.client import RegistryClient


def test_demo_image_is_pulled_from_the_demo_registry(tmp_path):
    make_image(tmp_path / "layout")
    config = Config(udocker_dir=tmp_path, registry_retries=0)
    with LayoutRegistry(tmp_path / "layout", "demo/pi", tmp_path / "log") as registry:
        reference = ImageReference.parse(f"{registry.host}/demo/pi:{TAG}")
        with RegistryClient(config, reference) as client:
            image = client.fetch_image(Platform.host(), at=client.resolve().digest)
            client.blob(image.manifest.layers[1], tmp_path / "layer")
        with pytest.raises(RegistryError, match="no such tag"):
            RegistryClient(config, ImageReference.parse(f"{registry.host}/demo/pi:none")).resolve()
        with pytest.raises(RegistryError, match="no such repository"):
            RegistryClient(config, ImageReference.parse(f"{registry.host}/other:1")).resolve()
    layer = zstandard.ZstdDecompressor().stream_reader((tmp_path / "layer").read_bytes()).read()
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        assert archive.getmember(PROGRAM).mode == 0o755
    assert len((tmp_path / "log").read_text().splitlines()) == 9
