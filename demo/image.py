"""The demo's image: a skeleton of a root file system, and one static program compiled from pi.c.

It is written as an OCI image layout (OCI image specification, image-layout.md), without docker or root.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zstandard

HERE = Path(__file__).resolve().parent
TAG = "1"
PROGRAM = "usr/local/bin/pi"
_TYPE = "application/vnd.oci.image."
# The names that Go, and so images, have for uname's machines.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIRECTORIES = ("dev", "etc", "home", "proc", "root", "sys", "usr", "usr/local", "usr/local/bin", "var")
_FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}


def make_image(layout: Path) -> None:
    """Write the image into the directory ``layout``, under the tag TAG; what was there is replaced."""
    shutil.rmtree(layout, ignore_errors=True)
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    archives = [_skeleton(), _tar([_entry(PROGRAM, 0o755, _compiled(layout))])]
    layers = [
        _blob(blobs, "layer.v1.tar+gzip", gzip.compress(archives[0], mtime=0)),
        _blob(blobs, "layer.v1.tar+zstd", zstandard.ZstdCompressor().compress(archives[1])),
    ]
    platform = {"os": "linux", "architecture": _ARCHITECTURES.get(os.uname().machine, os.uname().machine)}
    config = _blob(blobs, "config.v1+json", _json(_config(platform, archives)))
    manifest = _document(blobs, "manifest.v1+json", {"config": config, "layers": layers})
    index = _document(blobs, "index.v1+json", {"manifests": [{**manifest, "platform": platform}]})
    named = {**index, "annotations": {"org.opencontainers.image.ref.name": TAG}}
    (layout / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [named]}))
    (layout / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))


def compiler() -> list[str]:
    """A C compiler that makes static programs: zig's for musl where its Python package is, else $CC or cc."""
    probe = [sys.executable, "-m", "ziglang", "version"]
    if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        machine = os.uname().machine
        return [sys.executable, "-m", "ziglang", "cc", "-target", f"{machine}-linux-musl", "-static"]
    return [*shlex.split(os.environ.get("CC") or "cc"), "-static"]


def _compiled(directory: Path) -> bytes:
    program = directory / "pi"
    source = str(HERE / "pi.c")
    subprocess.run([*compiler(), "-std=gnu11", "-O2", "-Wall", "-s", "-o", str(program), source], check=True)
    try:
        return program.read_bytes()
    finally:
        program.unlink()


def _skeleton() -> bytes:
    directories = [_entry(name, 0o755) for name in _DIRECTORIES]
    return _tar(
        [*directories, _entry("tmp", 0o1777), *(_entry(name, 0o644, _FILES[name]) for name in _FILES)]
    )


def _entry(name: str, mode: int, data: bytes = b"") -> tuple[tarfile.TarInfo, bytes]:
    """A file, or a directory where there is no data."""
    info = tarfile.TarInfo(name)
    info.mode, info.size = mode, len(data)
    info.type = tarfile.REGTYPE if data else tarfile.DIRTYPE
    return info, data


def _tar(entries: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _config(platform: dict[str, str], archives: Sequence[bytes]) -> dict[str, Any]:
    path = "PATH=/usr/local/bin:/usr/bin:/bin"
    layers = [f"sha256:{hashlib.sha256(archive).hexdigest()}" for archive in archives]
    return {
        **platform,
        "config": {"Env": [path], "Cmd": ["pi"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": layers},
    }


def _document(blobs: Path, kind: str, content: dict[str, Any]) -> dict[str, Any]:
    return _blob(blobs, kind, _json({"schemaVersion": 2, "mediaType": _TYPE + kind, **content}))


def _blob(blobs: Path, kind: str, data: bytes) -> dict[str, Any]:
    """Write a blob; returns its descriptor."""
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": _TYPE + kind, "digest": f"sha256:{digest}", "size": len(data)}


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True).encode()
