"""The images that jobs of the tests run in: a tiny one, and a real Debian in three layers."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.services.images import (
    OCI_LAYER,
    Blob,
    ImageBuilder,
    Member,
    digest_of,
    directory,
    file,
    hardlink,
    opaque,
    symlink,
    whiteout,
)
from tests.services.needs import need_command, need_root
from tests.services.registry import Registry
from tests.services.sharing import cache_directory, exclusive

SUITE = "bookworm"
WEEK = 7 * 24 * 3600
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class BaseImage:
    """An image and its name without a registry."""

    builder: ImageBuilder
    image: Blob
    repository: str
    tag: str

    def push(self, registry: Registry) -> str:
        """Push it, unless it is there; the reference to pull."""
        self.builder.push(registry.url, self.repository, self.tag, self.image)
        return f"{registry.host}/{self.repository}:{self.tag}"


@dataclass(frozen=True)
class PushedImage:
    """An image in a registry; ``source.push`` puts it into others as well."""

    reference: str
    digest: str
    source: BaseImage


def pushed(image: BaseImage, registry: Registry) -> PushedImage:
    return PushedImage(image.push(registry), image.image.digest, image)


def _platform() -> str:
    machine = os.uname().machine
    return "linux/" + {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def busybox() -> BaseImage:
    """A static busybox with all its applets, in one layer."""
    program = need_command("busybox", "busybox-static")
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    members = [
        *(directory(name) for name in ("bin", "etc", "proc", "sys", "dev", "root", "usr", "usr/bin")),
        directory("tmp", 0o1777),
        file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"),
        file("etc/group", b"root:x:0:\n"),
        file("bin/busybox", Path(program).read_bytes(), 0o755),
        *(symlink(f"bin/{name}", "busybox") for name in listed if name != "busybox"),
        symlink("usr/bin/env", "../../bin/busybox"),
    ]
    builder = ImageBuilder()
    image = builder.image([builder.layer(members)], _platform(), cmd=["/bin/sh"], env=[SEARCH_PATH])
    return BaseImage(builder, image, "test/busybox", "1")


def debian() -> BaseImage:
    """Debian with Python, kept for a week: it takes half a minute to make."""
    need_root()
    need_command("mmdebstrap", "mmdebstrap")
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    cached = cache_directory() / "images" / f"debian-{SUITE}-{recipe}"
    with exclusive("images"):
        if not cached.exists() or time.time() - cached.stat().st_mtime > WEEK:
            _make_debian(cached)
        builder, image = _read_layout(cached)
    return BaseImage(builder, image, "test/debian", SUITE)


def _make_debian(target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    for old in target.parent.iterdir():  # of another recipe, too old, or half made
        shutil.rmtree(old)
    scratch = Path(tempfile.mkdtemp(dir=target.parent))
    builder = ImageBuilder()
    layers = [
        _base_layer(builder, scratch / "base.tar"),
        builder.layer(_added_members(), "zstd"),
        builder.layer(_removing_members(), "plain"),
    ]
    image = builder.image(layers, _platform(), cmd=["bash"], env=[SEARCH_PATH, "LANG=C.UTF-8"])
    (scratch / "base.tar").unlink()
    builder.write_layout(scratch, image, SUITE)
    scratch.rename(target)


def _base_layer(builder: ImageBuilder, tar: Path) -> Blob:
    """The tar archive exactly as mmdebstrap wrote it, with ./ before its names and device nodes in it."""
    excluded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]
    command = ["mmdebstrap", "--variant=minbase", "--include=python3", *excluded, SUITE, str(tar)]
    result = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if result.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {result.returncode}\n{result.stderr}")
    content = tar.read_bytes()
    return builder.add(Blob(f"{OCI_LAYER}+gzip", gzip.compress(content, 5, mtime=0), digest_of(content)))


def _added_members() -> list[Member]:
    """New files beside those of the base, and some for the next layer to take away."""
    return [
        directory("opt/test"),
        file("opt/test/added", b"added by layer 2\n"),
        hardlink("opt/test/linked", "opt/test/added"),
        symlink("opt/test/pointer", "/opt/test/added"),
        file("opt/test/run", b"#!/usr/bin/python3\nprint('run by Python')\n", 0o755),
        file("opt/test/doomed", b"removed by layer 3\n"),
        file("opt/test/" + "long" * 40, b"a name that needs a pax header\n"),
        directory("opt/test/hidden"),
        file("opt/test/hidden/old", b"hidden by layer 3\n"),
    ]


def _removing_members() -> list[Member]:
    return [
        whiteout("opt/test/doomed"),
        whiteout("etc/motd"),  # of layer 1
        directory("opt/test/hidden"),
        opaque("opt/test/hidden"),
        file("opt/test/hidden/new", b"added by layer 3\n"),
    ]


def _read_layout(path: Path) -> tuple[ImageBuilder, Blob]:
    """An image as ``ImageBuilder.write_layout`` wrote it."""
    builder = ImageBuilder()

    def add(entry: dict[str, str]) -> Blob:
        data = (path / "blobs" / entry["digest"].replace(":", "/")).read_bytes()
        return builder.add(Blob(entry["mediaType"], data))

    image = add(json.loads((path / "index.json").read_bytes())["manifests"][0])
    manifest = json.loads(image.data)
    for entry in (manifest["config"], *manifest["layers"]):
        add(entry)
    return builder, image
