"""What a task costs a shared file system in operations on metadata, and how an image comes to a node.

    python -m bench.bench_metadata [--delay SECONDS] [--part tasks|nodes]

The store lies on a FUSE file system that counts (tests/services/faultfs), mounted anew for each case, as on a
node that sees it for the first time; the second task there finds names and attributes that the kernel keeps
for 60 s.  The programs themselves are on the local disk and not counted.  udocker 1.3.17 comes from PyPI and
uses Debian's proot (execution mode P1).

The second part brings Debian with Python to a node in several ways; each operation on metadata takes
``--delay``.  Needs root, squashfs-tools and squashfuse.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.base_images import BaseImage, busybox, debian
from tests.services.faultfs import FaultDisk, mounted
from tests.services.installation import installed
from tests.services.old_udocker import old_udocker
from tests.services.registry import Registry, run_registry
from tests.services.users import User, oneself
from udocker import api
from udocker_batch.taskspec import TaskSpec

CACHE = 60.0
TRUE, PYTHON = ("true",), ("python3", "-c", "import json, email.parser, subprocess")
Programs = tuple[Path, Path]  # ours, and udocker 1.3.17


@dataclass(frozen=True)
class Bench:
    """A directory that the mounts show, a node's own, and who measures."""

    user: User
    place: Path
    ours: Path
    registry: Registry

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.user.home),
            "UDOCKER_DIR": str(self.place / "mount" / "store"),
            "UDOCKER_NODE_DIR": str(self.place / "node"),
            "UDOCKER_TARBALL": "",  # udocker 1.3.17 would look for engines to download
            "UDOCKER_USE_PROOT_EXECUTABLE": _need("proot", "proot"),
            "UDOCKER_SCHEDULER": "local",
            "UDOCKER_JOB_ID": "1",
        }

    @contextmanager
    def mount(self, delay: float = 0) -> Iterator[FaultDisk]:
        """The shared directory as a node sees it that has just booted."""
        with mounted(self.user, self.place / "backing", self.place / "mount", CACHE, delay) as disk:
            yield disk

    def run(self, argv: Sequence[str], **variables: str) -> str:
        done = subprocess.run(
            argv,
            env={**self.environment, **variables},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: {done.returncode}: {done.stderr}")
        return done.stdout

    def task(self, image: str, command: Sequence[str], stage: str, usage: bool = True) -> None:
        directory = self.environment["UDOCKER_DIR"]
        spec = TaskSpec(image, tuple(command), directory, stage=stage, usage=usage)
        self.run([str(self.ours / "udocker-batch"), "task"], UDOCKER_BATCH_TASK=spec.to_json())


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--delay", type=float, default=0.0005)
    parser.add_argument("--part", choices=("tasks", "nodes", "all"), default="all")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench_metadata: needs root")
    with tempfile.TemporaryDirectory() as name, installed() as ours, run_registry() as registry:
        place = Path(name)
        for part in ("backing", "mount", "node", "home"):
            (place / part).mkdir()
        bench = Bench(oneself(place / "home"), place, ours, registry)
        if options.part != "nodes":
            for image, command in ((busybox(), TRUE), (debian(), PYTHON)):
                _tasks(bench, image, command)
        if options.part != "tasks":
            _nodes(bench, options.delay)
    return 0


def _tasks(bench: Bench, image: BaseImage, command: Sequence[str]) -> None:
    reference = image.push(bench.registry)
    pinned = f"{reference.rpartition(':')[0]}@{image.image.digest}"
    name = image.repository.rpartition("/")[2]
    udocker, old = str(bench.ours / "udocker"), str(old_udocker())
    with bench.mount():
        bench.run([udocker, "create", f"--name={name}", reference])
        for stage in ("shared", "node"):
            bench.task(pinned, command, stage)
    cases = {
        "task, --stage=shared": lambda: bench.task(pinned, command, "shared"),
        "task, --stage=node": lambda: bench.task(pinned, command, "node"),
        "the same, --no-usage": lambda: bench.task(pinned, command, "node", usage=False),
        "udocker run NAME": lambda: bench.run([udocker, "run", name, *command]),
        "udocker 1.3.17 run NAME": lambda: bench.run(
            [old, "--allow-root", "run", "--nobanner", name, *command]
        ),
    }
    print(
        f"\n{' '.join(command)} in {name}: operations on metadata of the first and of the next task on a node"
    )
    for title, act in cases.items():
        with bench.mount() as disk:
            counts = []
            try:
                for _ in range(2):
                    disk.clear()
                    act()
                    counts.append(disk.met())
            except RuntimeError as error:
                print(f"{title:<26} does not run here: {str(error).splitlines()[0][-100:]}")
                continue
        kinds = " ".join(f"{kind}:{count}" for kind, count in Counter(counts[1].operations).most_common())
        print(f"{title:<26} {counts[0].metadata:>6} {counts[1].metadata:>6}   {kinds}")


def _nodes(bench: Bench, delay: float) -> None:
    """Debian's tree in the shared directory, as a tree, a squashfs and a tar by zstd."""
    image = debian()
    reference = image.push(bench.registry)
    pinned = f"{reference.rpartition(':')[0]}@{image.image.digest}"
    shared, local = bench.place / "mount" / "forms", bench.place / "node"
    for program in ("mksquashfs", "squashfuse"):
        _need(program, "squashfs-tools squashfuse")
    with bench.mount():
        bench.task(pinned, TRUE, "shared")
        bench.task(pinned, TRUE, "node")
    container = api.prepared_container(api.Config(str(bench.place / "backing/store")), pinned)
    archive = bench.place / "backing/store/batch/staged" / f"{container}.tar.zst"
    root = bench.place / "backing/store/containers" / container
    (bench.place / "backing/forms").mkdir()
    squashed = bench.place / "backing/forms/image.squashfs"
    packing: dict[str, float] = {}
    with _timed(packing, "mksquashfs, zstd"):
        _call(["mksquashfs", root, squashed, "-comp", "zstd", "-Xcompression-level", "3", "-no-progress"])
    files = sum(len(names) + len(folders) for _, folders, names in os.walk(root))
    print(f"\nDebian with Python to a node: {files} files, {delay * 1000:g} ms an operation on metadata")
    sizes = f"squashfs {squashed.stat().st_size >> 20} MiB, tar {archive.stat().st_size >> 20} MiB"
    print(f"{sizes}; mksquashfs took {packing['mksquashfs, zstd']:.1f} s")
    python = "/usr/bin/python3"
    ways: Mapping[str, Sequence[str | Path]] = {
        "a copy of the tree": [
            "cp",
            "-a",
            bench.place / "mount/store/containers" / container,
            local / "tree",
        ],
        "unsquashfs": ["unsquashfs", "-q", "-n", "-d", local / "squash", shared / squashed.name],
        "squashfuse, Python": ["sh", "-c", _squashfuse(shared / squashed.name, local / "fuse", python)],
    }
    for title, argv in ways.items():
        _measure(bench, delay, title, lambda argv=argv: _call(argv))
    bench.run([str(bench.ours / "udocker-batch"), "stage", "clean"])
    _measure(bench, delay, "--stage=node, cold", lambda: bench.task(pinned, TRUE, "node", usage=False))
    _measure(bench, delay, "--stage=node, warm", lambda: bench.task(pinned, PYTHON, "node", usage=False))
    _measure(
        bench, delay, "--stage=shared, Python", lambda: bench.task(pinned, PYTHON, "shared", usage=False)
    )


def _squashfuse(image: Path, point: Path, python: str) -> str:
    command = f"{python} -c 'import json, email.parser, subprocess'"
    return f"mkdir -p {point}; squashfuse {image} {point} && chroot {point}/ROOT {command}; umount {point}"


def _measure(bench: Bench, delay: float, title: str, act: object) -> None:
    assert callable(act)
    seconds: dict[str, float] = {}
    with bench.mount(delay) as disk:
        disk.clear()
        with _timed(seconds, title):
            act()
        met = disk.met()
    reads = met.operations.get("read", 0)
    print(f"{title:<26} {met.metadata:>7} operations on metadata, {reads:>6} reads, {seconds[title]:>6.2f} s")


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - begin


def _call(argv: Sequence[str | Path]) -> None:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{argv}: {done.returncode}: {done.stdout}{done.stderr}")


def _need(program: str, packages: str) -> str:
    found = shutil.which(program)
    if found is None:
        sys.exit(f"bench_metadata: needs {program}: apt-get install {packages}")
    return found


if __name__ == "__main__":
    sys.exit(main())
