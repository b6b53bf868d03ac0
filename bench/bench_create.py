"""How long unpacking an image takes: ``udocker create``, plain ``tar x`` of the same layers, and others.

    python -m bench.bench_create [--rounds N] [--megabytes N] [--directory D] [--layers TAR...] [--no-peers]

The others are ``umoci unpack``, and udocker 1.3.17, installed from PyPI into an environment that is removed
again.  The image is made of this machine's /usr in four layers, or of the tar files that are given, and is
measured compressed by gzip, by zstd, and not at all.  All write to the same file system, in turn; what they
wrote is removed and written back before the next is timed.  ``--directory /dev/shm`` shows the work without a
disk.  Run it as an ordinary user: as root, tar and umoci change the owner of every file, the others don't.

Processor time tells more than the clock where others use the machine as well.  Memory is that of the largest
process of each, and at least that of the small one that starts it.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from udocker.config import Config
from udocker.model.digest import Digest
from udocker.model.manifest import Manifest, parse_manifest
from udocker.model.reference import ImageReference
from udocker.store.store import Store
from udocker.system.files import remove_tree

TREES = ("lib/python3", "lib/python3.11", "share/perl", "share/doc", "lib/gcc", "lib/x86_64-linux-gnu", "bin")
COMPRESSORS = {"gzip": ["gzip", "-6"], "zstd": ["zstd", "-q", "-3", "-T2"], "plain": ["cat"]}
READERS = {"gzip": ["gzip", "-dc"], "zstd": ["zstd", "-dqc"], "plain": ["cat"]}
MEDIA_TYPES = {"gzip": "+gzip", "zstd": "+zstd", "plain": ""}
NAME = "bench/create"
PEER = "udocker==1.3.17"
LAYERS = 4


# A process takes over the memory of the one that starts it for a moment, and is charged for it: a small one
# starts the program and measures.
MEASURE = """
import json, os, sys, time
begin = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ), 0)
taken = time.perf_counter() - begin
processor = usage.ru_utime + usage.ru_stime
print(json.dumps([taken, processor, usage.ru_maxrss, os.waitstatus_to_exitcode(status)]), file=sys.stderr)
"""


@dataclass
class Case:
    """A program to time: ``clean`` removes what it wrote; ``lack`` says why it could not be measured."""

    name: str
    argv: Sequence[str]
    clean: Callable[[], None]
    env: dict[str, str]
    lack: str = ""
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    kilobytes: int = 0

    def run(self, count: bool) -> None:
        """Run it once, and note time and memory if they ``count``."""
        argv = [sys.executable, "-S", "-E", "-c", MEASURE, *self.argv]
        result = subprocess.run(argv, env=self.env, capture_output=True, text=True, check=True)
        *said, measured = result.stderr.strip().splitlines()
        taken, processor, kilobytes, status = json.loads(measured)
        self.clean()
        os.sync()  # so that nobody pays for what the other one wrote
        if status:
            self.lack = said[-1] if said else f"status {status}"
        elif count:
            self.seconds.append(taken)
            self.processor.append(processor)
            self.kilobytes = max(self.kilobytes, kilobytes)


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=300, help="of files, before compression")
    parser.add_argument("--directory", help="where to write (default: the temporary directory)")
    parser.add_argument("--layers", nargs="+", type=Path, help="tar files, lowest first, instead of /usr")
    parser.add_argument("--no-peers", action="store_true", help="tar alone, without umoci and udocker 1.3")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # each line as it is measured
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        tars = options.layers or _layers(directory, options.megabytes << 20)
        size = sum(path.stat().st_size for path in tars) / 1e6
        print(f"{len(tars)} layers, {_members(tars)} members, {size:.0f} MB of tar; {os.cpu_count()} cores")
        print(f"{options.rounds} rounds, interleaved, medians; ratios to tar x")
        peer, lack = (None, "") if options.no_peers else _install_peer(directory / "peer")
        if lack:
            print(lack)
        heads = f"{'s':>7} {'range':>12} {'ratio':>6} {'cpu s':>7} {'ratio':>6} {'MB':>6}"
        print(f"{'':<6} {'':<16} {heads}")
        for kind in COMPRESSORS:
            _measure(directory, kind, tars, options.rounds, None if options.no_peers else (peer,))
    return 0


def _measure(
    directory: Path, kind: str, tars: list[Path], rounds: int, peers: Optional[tuple[Optional[Path]]]
) -> None:
    program = COMPRESSORS[kind][0]
    if shutil.which(program) is None:
        print(f"{kind}: needs the program {program}")
        return
    work = directory / kind
    work.mkdir()
    layers = [_compressed(path, work / f"{number}.{kind}", kind) for number, path in enumerate(tars)]
    cases = _cases(work, kind, layers, peers)
    for case in cases:
        case.run(count=False)  # warms the caches, and shows whether it can do it at all
    for _ in range(rounds):
        for case in cases:
            if not case.lack:
                case.run(count=True)
    for case in cases:
        print(_line(kind, case, cases[0]))
    shutil.rmtree(work)


def _line(kind: str, case: Case, base: Case) -> str:
    if case.lack or not case.seconds:
        return f"{kind:<6} {case.name:<16} cannot: {case.lack[:80]}"
    median = statistics.median(case.seconds)
    spread = f"{min(case.seconds):.2f}-{max(case.seconds):.2f}"
    processor = statistics.median(case.processor)
    ratios = [median / statistics.median(base.seconds), processor / statistics.median(base.processor)]
    columns = f"{median:>7.2f} {spread:>12} {ratios[0]:>6.2f} {processor:>7.2f} {ratios[1]:>6.2f}"
    return f"{kind:<6} {case.name:<16} {columns} {case.kilobytes / 1024:>6.0f}"


def _cases(work: Path, kind: str, layers: list[Path], peers: Optional[tuple[Optional[Path]]]) -> list[Case]:
    env = {**os.environ, "UDOCKER_DIR": str(work / "store")}
    document = _publish(env, layers, kind)
    plain = work / "plain"
    # As udocker 1.3 and people do it: one tar after the other over the same directory.
    script = 'mkdir "$0" && for layer; do tar -C "$0" -xf "$layer"; done'
    ours = [str(Path(sys.executable).parent / "udocker"), "create", f"{NAME}:{kind}"]
    found = [
        Case("tar x", ["sh", "-c", script, str(plain), *map(str, layers)], lambda: remove_tree(plain), env),
        Case("udocker create", ours, lambda: _remove_containers(env), env),
    ]
    if peers is None:
        return found
    umoci = shutil.which("umoci")
    if umoci:
        _write_layout(work / "oci", layers, document)
        bundle = work / "bundle"
        rootless = [] if os.geteuid() == 0 else ["--rootless"]
        argv = [umoci, "unpack", *rootless, "--image", f"{work / 'oci'}:{kind}", str(bundle)]
        found.append(Case("umoci unpack", argv, lambda: remove_tree(bundle), env))
    else:
        print("umoci: not here: apt-get install umoci")
    if peers[0]:
        old = [str(peers[0]), *(["--allow-root"] if os.geteuid() == 0 else []), "create", f"{NAME}:{kind}"]
        found.append(Case("udocker 1.3.17", old, lambda: _remove_containers(env), env))
    return found


def _install_peer(environment: Path) -> tuple[Optional[Path], str]:
    """The old udocker, in an environment of its own; or what kept it from being installed."""
    pip = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet", PEER]
    for argv in ([sys.executable, "-m", "venv", str(environment)], pip):
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
        if result.returncode:
            cause = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            return None, f"{PEER}: cannot be installed from PyPI: {cause}"
    return environment / "bin/udocker", ""


def _remove_containers(env: dict[str, str]) -> None:
    containers = Store.at(Config.from_environment(env)).containers
    for container_id in containers.ids():
        containers.remove(containers.directory(container_id))


def _layers(directory: Path, limit: int) -> list[Path]:
    """Tar files of this machine's own files, together of about ``limit`` bytes."""
    paths = [directory / f"layer-{number}.tar" for number in range(LAYERS)]
    total = 0
    with ExitStack() as stack:
        archives = [stack.enter_context(tarfile.open(path, "w", format=tarfile.GNU_FORMAT)) for path in paths]
        for file in _files():
            size = 0 if file.is_symlink() or file.is_dir() else file.stat().st_size
            if total + size > limit:
                break
            archives[total * len(archives) // limit].add(file, str(file).lstrip("/"), recursive=False)
            total += size
    return paths


def _files() -> Iterator[Path]:
    for tree in TREES:
        for parent, _, names in sorted(os.walk(Path("/usr", tree))):
            yield Path(parent)
            for name in sorted(names):
                path = Path(parent, name)
                if path.is_symlink() or (path.is_file() and os.access(path, os.R_OK)):
                    yield path


def _members(tars: list[Path]) -> int:
    count = 0
    for path in tars:
        with tarfile.open(path) as archive:
            count += sum(1 for _ in archive)
    return count


def _compressed(path: Path, target: Path, kind: str) -> Path:
    with path.open("rb") as source, target.open("wb") as sink:
        subprocess.run(COMPRESSORS[kind], stdin=source, stdout=sink, check=True)
    return target


def _publish(env: dict[str, str], layers: list[Path], kind: str) -> bytes:
    """Put an image of these layers into the store, as a pull would; its manifest."""
    store = Store.at(Config.from_environment(env)).create()
    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    ).encode()
    store.layers.add_bytes(Digest.of(config), config)
    entries = []
    for path in layers:
        data = path.read_bytes()
        store.layers.add_bytes(Digest.of(data), data)
        entries.append(_descriptor(data, f"layer.v1.tar{MEDIA_TYPES[kind]}"))
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _descriptor(config, "config.v1+json"),
        "layers": entries,
    }
    raw = json.dumps(document).encode()
    manifest = parse_manifest(raw)
    assert isinstance(manifest, Manifest)
    store.images.publish(ImageReference.parse(f"{NAME}:{kind}"), manifest, None)
    return raw


def _descriptor(data: bytes, kind: str) -> dict[str, object]:
    return {
        "mediaType": f"application/vnd.oci.image.{kind}",
        "digest": str(Digest.of(data)),
        "size": len(data),
    }


def _write_layout(layout: Path, layers: list[Path], manifest: bytes) -> None:
    """An OCI layout of the same blobs, with the digests of the plain layers, which umoci checks."""
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    kind = layers[0].suffix[1:]
    plain = [str(_plain_digest(path, kind)) for path in layers]
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": plain},
        }
    ).encode()
    document = json.loads(manifest)
    document["config"] = _descriptor(config, "config.v1+json")
    raw = json.dumps(document).encode()
    for data in (config, raw, *(path.read_bytes() for path in layers)):
        (blobs / Digest.of(data).hex).write_bytes(data)
    entry = {
        **_descriptor(raw, "manifest.v1+json"),
        "annotations": {"org.opencontainers.image.ref.name": kind},
    }
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))


def _plain_digest(path: Path, kind: str) -> Digest:
    with path.open("rb") as source:
        return Digest.of(subprocess.run(READERS[kind], stdin=source, capture_output=True, check=True).stdout)


if __name__ == "__main__":
    sys.exit(main())
