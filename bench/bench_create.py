"""How long unpacking an image takes: ``udocker create`` against plain ``tar x`` of the same layers.

    python -m bench.bench_create [--rounds N] [--megabytes N] [--directory D]

The image is made of files of this machine's /usr, in three layers, once compressed by gzip and once by zstd.
Both sides write to the same file system, and what they wrote is removed and written back before the next is
timed.  On a slow disk its noise hides the difference; --directory /dev/shm shows the work alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Callable

from udocker.config import Config
from udocker.model.digest import Digest
from udocker.model.manifest import Manifest, parse_manifest
from udocker.model.reference import ImageReference
from udocker.store.store import Store

TREES = ("lib/python3", "lib/python3.11", "share/perl", "share/doc", "lib/gcc", "lib/x86_64-linux-gnu", "bin")
COMPRESSORS = {"gzip": ["gzip", "-6"], "zstd": ["zstd", "-q", "-3", "-T2"]}
NAME = "bench/create"


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=300, help="of files, before compression")
    parser.add_argument("--directory", help="where to write (default: the temporary directory)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        tars, count = _layers(directory, options.megabytes << 20)
        size = sum(path.stat().st_size for path in tars) / 1e6
        print(
            f"{len(tars)} layers, {count} members, {size:.0f} MB of tar; {options.rounds} rounds, interleaved"
        )
        print(f"{'':<6} {'tar x s':>9} {'create s':>9} {'ratio':>7}   range of tar x, create")
        for kind in COMPRESSORS:
            if shutil.which(COMPRESSORS[kind][0]) is None:
                print(f"{kind:<6} needs the program {COMPRESSORS[kind][0]}")
                continue
            print(_measure(directory, kind, tars, options.rounds))
    return 0


def _measure(directory: Path, kind: str, tars: list[Path], rounds: int) -> str:
    layers = [_compressed(path, kind) for path in tars]
    env = {**os.environ, "UDOCKER_DIR": str(directory / f"store-{kind}")}
    _publish(env, layers)
    target = directory / "plain"
    # As udocker 1.3 and people do it: one tar after the other over the same directory.
    script = 'mkdir "$0" && for layer; do tar -C "$0" -xf "$layer"; done'
    plain = ["sh", "-c", script, str(target), *map(str, layers)]
    create = [str(Path(sys.executable).parent / "udocker"), "create", f"{NAME}:{kind}"]
    cases: dict[str, tuple[list[str], Callable[[], None]]] = {
        "tar": (plain, lambda: shutil.rmtree(target)),
        "create": (create, lambda: _remove_containers(env)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for count in range(rounds + 1):  # the first warms the caches
        for name, (argv, clean) in cases.items():
            begin = time.perf_counter()
            subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)
            taken = time.perf_counter() - begin
            clean()
            os.sync()  # so that nobody pays for what the other one wrote
            if count:
                seconds[name].append(taken)
    tar, made = (statistics.median(seconds[name]) for name in ("tar", "create"))
    spread = ", ".join(f"{min(seconds[name]):.2f}-{max(seconds[name]):.2f}" for name in cases)
    return f"{kind:<6} {tar:>9.2f} {made:>9.2f} {made / tar:>7.2f}   {spread}"


def _remove_containers(env: dict[str, str]) -> None:
    containers = Store.at(Config.from_environment(env)).containers
    for container_id in containers.ids():
        containers.remove(containers.directory(container_id))


def _layers(directory: Path, limit: int) -> tuple[list[Path], int]:
    """Three tar files of this machine's own files, together of about ``limit`` bytes."""
    paths = [directory / f"layer-{number}.tar" for number in range(3)]
    total = count = 0
    with ExitStack() as stack:
        archives = [stack.enter_context(tarfile.open(path, "w", format=tarfile.GNU_FORMAT)) for path in paths]
        for file in _files():
            size = file.stat().st_size
            if total + size > limit:
                break
            archives[total * len(archives) // limit].add(file, str(file).lstrip("/"), recursive=False)
            total, count = total + size, count + 1
    return paths, count


def _files() -> Iterator[Path]:
    for tree in TREES:
        for parent, _, names in sorted(os.walk(Path("/usr", tree))):
            for name in sorted(names):
                path = Path(parent, name)
                if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                    yield path


def _compressed(path: Path, kind: str) -> Path:
    target = path.with_suffix(f".{kind}")
    with path.open("rb") as source, target.open("wb") as sink:
        subprocess.run(COMPRESSORS[kind], stdin=source, stdout=sink, check=True)
    return target


def _publish(env: dict[str, str], layers: list[Path]) -> None:
    """Put an image of these layers into the store, as a pull would."""

    store = Store.at(Config.from_environment(env)).create()
    config = json.dumps({"os": "linux", "architecture": "amd64", "config": {}}).encode()
    store.layers.add_bytes(Digest.of(config), config)
    entries = []
    for path in layers:
        data = path.read_bytes()
        store.layers.add_bytes(Digest.of(data), data)
        entries.append({"mediaType": "", "digest": str(Digest.of(data)), "size": len(data)})
    document = {"config": {"digest": str(Digest.of(config)), "size": len(config)}, "layers": entries}
    manifest = parse_manifest(json.dumps({"schemaVersion": 2, **document}).encode())
    assert isinstance(manifest, Manifest)
    kind = layers[0].suffix.lstrip(".")
    store.images.publish(ImageReference.parse(f"{NAME}:{kind}"), manifest, None)


if __name__ == "__main__":
    sys.exit(main())
