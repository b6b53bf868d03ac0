"""What ``bench_engines`` runs in: a Debian root with a compiler and sources, and every engine over it.

The root is made once and kept in the tests' cache directory.  It belongs to an ordinary user, as a
container's does, and that user runs everything, chroot included: root only changes the root directory first.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services.sharing import cache_directory, exclusive, session_directory
from udocker.engine.binaries import PACKAGE
from udocker.system.files import remove_tree

HERE = Path(__file__).resolve().parent
ORDINARY = 65534
SUITE = "bookworm"
PACKAGES = "gcc,libc6-dev,make,python3"
POOL = "http://deb.debian.org/debian/pool/main"
# Directory below /src, where to get it, and its SHA-256.
SOURCES = {
    "lua": (
        f"{POOL}/l/lua5.4/lua5.4_5.4.4.orig.tar.gz",
        "164c7849653b80ae67bec4b7473b884bf5cc8d2dca05653475ec2ed27b9ebf61",
    ),
    "hello": (
        f"{POOL}/h/hello/hello_2.10.orig.tar.gz",
        "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b",
    ),
}
HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'
HOME = "/home/bench"
FILES = ("/etc/hosts", "/etc/resolv.conf")
PROGRAM = "/usr/local/bin/engine_calls"


@dataclass(frozen=True)
class Stage:
    """The root, and the host's directories that are shown in it."""

    root: Path
    directory: Path  # of this run
    trap: Path
    namespace: Path  # of mounts, in which the root shows what engines bind

    @property
    def enter(self) -> Path:
        return self.directory / "engine_enter"

    def binds(self) -> list[tuple[str, str]]:
        """What a real run shows in a container: source and target, in order."""
        system = [(path, path) for path in ("/proc", "/dev", "/sys", *FILES)]
        return [*system, (str(self.directory / "tmp"), "/tmp"), (str(self.directory / "home"), HOME)]

    def argv(self, engine: str, command: Sequence[str]) -> list[str]:
        """How ``engine`` runs a command, as the ordinary user."""
        inside = [str(self.namespace), str(self.root)] if engine == "chroot" else ["-", "/"]
        return [str(self.enter), str(ORDINARY), *inside, *ENGINES[engine](self), *command]


def _trap(stage: Stage, *options: str) -> list[str]:
    binds = [word for bind in stage.binds() for word in ("--bind", *bind)]
    return [str(stage.trap), "--root", str(stage.root), *binds, *options, "--"]


def _userns(stage: Stage) -> list[str]:
    binds = [word for bind in stage.binds() for word in ("--bind", *bind)]
    identity = ["--uid", str(ORDINARY), "--gid", str(ORDINARY)]
    return [str(Path(PACKAGE, "udocker-userns")), "--root", str(stage.root), *identity, *binds, "--"]


def _proot(stage: Stage) -> list[str]:
    binds = [word for source, target in stage.binds() for word in ("-b", f"{source}:{target}")]
    return [need("proot", "proot"), "-r", str(stage.root), "-w", "/", *binds]


def _bubblewrap(stage: Stage) -> list[str]:
    binds = [word for bind in stage.binds() for word in ("--dev-bind", *bind)]
    return [need("bwrap", "bubblewrap"), "--unshare-user", "--bind", str(stage.root), "/", *binds]


ENGINES = {
    "chroot": lambda stage: [],
    "trap T1": _trap,
    "trap T2": lambda stage: _trap(stage, "--patch"),
    "tracer P1": lambda stage: _trap(stage, "--trace", "--patch"),
    "tracer P2": lambda stage: _trap(stage, "--trace-all"),
    "userns R1": _userns,
    "bubblewrap": _bubblewrap,
    "proot": _proot,
}


@contextmanager
def stage_set(trap: Path) -> Iterator[Stage]:
    """The stage, as long as the context lasts."""
    root = _root()
    with session_directory("bench") as directory, _namespace() as holder:
        stage = Stage(root, directory, directory / "udocker-trap", Path(f"/proc/{holder.pid}/ns/mnt"))
        shutil.copy(trap, stage.trap)
        _compile(HERE / "engine_enter.c", stage.enter, "-static")
        for name in ("tmp", "home"):
            (directory / name).mkdir()
            os.chown(directory / name, ORDINARY, ORDINARY)
        for source, target in stage.binds():
            mount = ["mount", "--rbind", source, f"{root}{target}"]
            subprocess.run(["nsenter", f"--mount={stage.namespace}", *mount], check=True)
        yield stage


@contextmanager
def _namespace() -> Iterator[subprocess.Popen[bytes]]:
    """A process that keeps a mount namespace of its own: no mount of the bench is seen anywhere else."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; read end"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        yield holder
        holder.kill()


def need(program: str, package: str) -> str:
    """A program's path; ends this one where it is missing."""
    found = shutil.which(program)
    if found is None:
        sys.exit(f"bench_engines: needs {program}: apt-get install {package}")
    return found


def _compile(source: Path, target: Path, *options: str) -> None:
    warnings = ["-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([need("gcc", "gcc"), *warnings, *options, "-o", target, source], check=True)


def _root() -> Path:
    """The root, made if it is missing: that takes a minute."""
    recipe = b"".join(path.read_bytes() for path in (Path(__file__), HERE / "engine_calls.c"))
    cached = cache_directory() / "bench" / f"root-{hashlib.sha256(recipe).hexdigest()[:12]}"
    with exclusive("bench"):
        if not cached.exists():
            cached.parent.mkdir(exist_ok=True)
            for old in cached.parent.iterdir():  # of another recipe, or half made
                remove_tree(old)
            _make(cached)
    return cached


def _make(cached: Path) -> None:
    scratch = Path(tempfile.mkdtemp(dir=cached.parent))
    command = [need("mmdebstrap", "mmdebstrap"), "--quiet", "--variant=minbase", f"--include={PACKAGES}"]
    print("bench_engines: makes a Debian root", file=sys.stderr)
    subprocess.run([*command, SUITE, scratch], check=True, stdin=subprocess.DEVNULL)
    for name, (address, digest) in SOURCES.items():
        _unpack(address, digest, scratch / "src" / name)
    (scratch / "src/hello.c").write_text(HELLO)
    shutil.copy(HERE / "engine_calls.c", scratch / "src")
    warnings = ["-O2", "-Wall", "-Wextra", "-Werror"]
    # By the root's own compiler, for its own C library.
    inside = ["chroot", scratch, "gcc", *warnings, "-o", PROGRAM, "/src/engine_calls.c"]
    subprocess.run(inside, check=True)
    for target in (*FILES, HOME):
        (scratch / target[1:]).parent.mkdir(exist_ok=True)
        (scratch / target[1:]).mkdir() if target == HOME else (scratch / target[1:]).touch()
    subprocess.run(["chown", "-R", f"{ORDINARY}:{ORDINARY}", scratch], check=True)
    scratch.chmod(0o755)
    scratch.rename(cached)


def _unpack(address: str, digest: str, target: Path) -> None:
    with urllib.request.urlopen(address) as answer:
        data = answer.read()
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        sys.exit(f"bench_engines: {address}: its SHA-256 is {found}")
    target.mkdir(parents=True)
    unpack = ["tar", "xz", "--strip-components=1", "-C", target]
    subprocess.run(unpack, input=data, check=True)
