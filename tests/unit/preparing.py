"""A store, an image in a registry that fails on order, and processes that prepare it, killed at any step."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.services.faulty_registry import FaultyRegistry
from tests.services.images import ImageBuilder, directory, file, opaque, symlink, whiteout
from udocker.config import Config
from udocker.store.packed import packed_size
from udocker.store.store import Store

# What a process does: prepare or stage an image.  Its first argument counts file system events, after which
# it kills itself; Python's audit events stand before the calls that they tell of, so every step between two
# is met.
PROGRAM = """
import json, os, signal, sys
sys.dont_write_bytecode = True  # the first run of a checkout would take hundreds of steps more
sys.path.insert(0, {tree!r})
from udocker.api import Config, UdockerError, resolve
from udocker_batch.staging import place_of

deadly, image, stage = int(sys.argv[1]), sys.argv[2], sys.argv[3]
TOLD = ["open", *("os." + name for name in "rename link symlink mkdir remove rmdir chmod utime".split())]
count = 0

def hook(event, arguments):
    global count
    if event not in TOLD or event == "open" and not (arguments[2] or 0) & (os.O_CREAT | os.O_WRONLY):
        return
    count += 1
    if count == deadly:
        os.kill(os.getpid(), signal.SIGKILL)

config = Config.from_environment(os.environ)
pinned = resolve(config, image)
sys.addaudithook(hook)
try:
    with place_of(config, pinned, stage, os.environ) as place:
        prepared = place.preparation
        where = place.config.udocker_dir
except UdockerError as error:
    print(json.dumps({{"error": error.message, "hint": error.hint}}))
    sys.exit(125)
print(json.dumps({{"role": prepared.role, "container": prepared.container, "count": count, "store": where}}))
"""

CONTENT = {"bin/app": b"#!/bin/sh\n" * 2000, "etc/conf": b"new", "etc/kept": b"kept", "d/new": b"1"}


def add_app(registry: FaultyRegistry) -> None:
    """Put the image here whose content is CONTENT."""
    builder = ImageBuilder()
    lower = [directory("etc"), file("etc/conf", b"old"), file("etc/kept", b"kept"), file("gone", b"x")]
    layers = [
        builder.layer([*lower, file("d/old", b"0")], "gzip"),
        builder.layer([file("bin/app", CONTENT["bin/app"], 0o755), symlink("sh", "bin/app")], "zstd"),
        builder.layer([file("etc/conf", b"new"), whiteout("gone"), opaque("d"), file("d/new", b"1")]),
    ]
    registry.add(builder, "team/app", "1", builder.index([builder.image(layers, cmd=["/bin/app"])]))


class Site:
    """A store and the processes that prepare in it."""

    def __init__(self, path: Path, registry: FaultyRegistry, stage: str = "shared") -> None:
        self.directory = path / "store"
        self.node = path / "node"
        self.node.mkdir()
        self.stage = stage
        self.image = f"{registry.host}/team/app:1"
        self._program = path / "program.py"
        self._program.write_text(PROGRAM.format(tree=os.getcwd()))
        self.environment = {
            "PATH": os.environ["PATH"],
            "UDOCKER_DIR": str(self.directory),
            "UDOCKER_NODE_DIR": str(self.node),
            "UDOCKER_LOCK_STALE": "30",
            "UDOCKER_REGISTRY_RETRIES": "2",
        }

    def start(self, deadly: int = 0, image: str = "") -> subprocess.Popen[str]:
        argv = self.command(deadly, image)
        return subprocess.Popen(argv, env=self.environment, stdout=subprocess.PIPE, text=True)

    def command(self, deadly: int = 0, image: str = "") -> list[str]:
        return [sys.executable, str(self._program), str(deadly), image or self.image, self.stage]

    def run(self, deadly: int = 0, image: str = "") -> tuple[int, dict[str, object]]:
        process = self.start(deadly, image)
        out = process.communicate(timeout=60)[0]
        return process.returncode, json.loads(out) if out else {}

    @property
    def store(self) -> Store:
        return Store.at(Config.from_environment(self.environment))

    def assert_nothing_half_made(self) -> None:
        """Whatever can be seen is whole: every container has all files, every image all its layers."""
        store = self.store
        for container_id in store.containers.ids():
            self.assert_complete(Path(store.containers.find(container_id).root))
        for _, _, path in store.images.entries():
            for link in path.iterdir():
                if link.is_symlink():
                    assert link.exists(), link
        if store.paths.layers.is_dir():
            for blob in store.paths.layers.iterdir():
                algorithm, _, hexadecimal = blob.name.partition(":")
                assert hashlib.new(algorithm, blob.read_bytes()).hexdigest() == hexadecimal

    @staticmethod
    def assert_complete(root: Path) -> None:
        found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for name in ("sh", "etc/resolv.conf", "etc/hosts"):  # a link, and what runs bind over
            del found[name]
        assert found == CONTENT


def copies(site: Site) -> list[Path]:
    """The containers on the node."""
    return sorted(site.node.glob("udocker-stage-*/*/containers/*"))


def archives(site: Site) -> list[Path]:
    """The files of which copies are made."""
    return sorted(site.directory.glob("batch/staged/*"))


def unfinished(site: Site) -> list[Path]:
    """What a copy on the node or the shared file is being made of; one killed at the end leaves no more of
    its workspace than the empty directory."""
    places = ("store/tmp", "store/batch/staged/.*", "node/*/*/tmp")
    found = [path for place in places for path in site.directory.parent.glob(f"{place}/*")]
    return [path for path in found if not path.is_dir() or list(path.iterdir())]


def assert_whole(site: Site) -> None:
    """Nothing half made can be seen, in the shared store or on the node."""
    site.assert_nothing_half_made()
    for copy in copies(site):
        site.assert_complete(copy / "ROOT")
    for archive in archives(site):
        assert packed_size(archive) > 0
