"""How long a container takes to start: ``udocker run NAME true`` against udocker 1.3.17 and engines alone.

    python -m bench.bench_start [--rounds N]

Both programs are installed into environments of their own, of the same Python, and run a container of the
host's static busybox in one store.  udocker 1.3.17 comes from PyPI; its own engine would have to be
downloaded, so it uses Debian's proot (execution mode P1), which is a row of its own.  What Python costs
is the difference between a program and its engine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.timing import interleave, table
from tests.services.installation import SYSTEM_PYTHON, installed
from udocker.config import Config
from udocker.model.container import Container
from udocker.store.store import Store

NAME = "bench-start"
OLD = "udocker==1.3.17"
DOCUMENT = {"os": "linux", "architecture": "amd64", "config": {"Cmd": ["/bin/sh"]}}
# Peak memory is that of the process and its descendants; a process starts with the memory of who forked it.
PEAK = """
import os, sys
_, _, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
print(usage.ru_maxrss)
"""


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    proot = _need("proot", "proot")
    with tempfile.TemporaryDirectory() as name, installed() as ours, _store(Path(name)) as (container, env):
        engines, programs = _cases(container, ours, _old(Path(name)), proot)
        seconds = interleave({**engines, **programs}, env, options.rounds)
        peaks = {name: _peak(argv, env) for name, argv in programs.items()}
    print(f"{options.rounds} rounds, interleaved; ratios to the launcher alone")
    print(table(seconds, "udocker-userns"))
    print(_overhead(seconds))
    print("\n".join(f"{name:<28} peak memory {peak / 1024:.1f} MiB" for name, peak in peaks.items()))
    return 0


def _cases(
    container: Container, ours: Path, old: Path, proot: str
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The engines alone, and the programs around them."""
    root = str(container.root)
    launcher = next(ours.parent.glob("lib/python*/site-packages/udocker/native/bin/udocker-userns"))
    binds = [word for path in ("/proc", "/dev", "/sys") for word in ("--bind", path, path)]
    userns = [str(launcher), "--root", root, "--uid", "0", "--gid", "0", *binds]
    shown = [word for path in ("/proc", "/dev", "/sys") for word in ("-b", path)]
    engines = {
        "udocker-userns": [*userns, "--", "/bin/true"],
        "proot": [proot, "-r", root, "-w", "/", *shown, "/bin/true"],
    }
    return engines, {
        "python -c pass": [str(ours / "python"), "-c", "pass"],
        "udocker run": [str(ours / "udocker"), "run", NAME, "true"],
        "udocker 1.3.17 run": [str(old), "--allow-root", "run", "--nobanner", NAME, "true"],
    }


def _overhead(seconds: Mapping[str, Sequence[float]]) -> str:
    median = {name: statistics.median(values) * 1000 for name, values in seconds.items()}
    ours = median["udocker run"] - median["udocker-userns"]
    old = median["udocker 1.3.17 run"] - median["proot"]
    return f"Python's part: {ours:.1f} ms, of udocker 1.3.17 {old:.1f} ms: ratio {ours / old:.2f}"


def _peak(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """The most memory that a program takes, in KiB."""
    python = [str(SYSTEM_PYTHON), "-I", "-S", "-c", PEAK, *argv]
    return int(subprocess.run(python, env=env, check=True, capture_output=True).stdout)


def _old(directory: Path) -> Path:
    venv = directory / "old"
    subprocess.run([SYSTEM_PYTHON, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/python", "-m", "pip", "--quiet", "install", OLD], check=True)
    return venv / "bin/udocker"


@contextmanager
def _store(directory: Path) -> Iterator[tuple[Container, dict[str, str]]]:
    """A store with one container, and the environment in which both programs find it."""
    busybox = _need("busybox", "busybox-static")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "UDOCKER_DIR": str(directory / "store"),
        "UDOCKER_TARBALL": "",  # udocker 1.3.17 would look for engines to download
        "UDOCKER_USE_PROOT_EXECUTABLE": _need("proot", "proot"),
    }
    containers = Store.at(Config.from_environment(env)).create().containers
    made = containers.create("busybox:latest", DOCUMENT, lambda root: _fill(root, busybox))
    containers.name(made.id, NAME)
    yield made, env


def _fill(root: Path, busybox: str) -> None:
    for name in ("bin", "etc", "root"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for applet in ("sh", "true"):
        (root / "bin" / applet).symlink_to("busybox")
    # Without these udocker 1.3.17 fails.
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")


def _need(program: str, package: str) -> str:
    found = shutil.which(program)
    if found is None:
        sys.exit(f"bench_start: needs {program}: apt-get install {package}")
    return found


if __name__ == "__main__":
    sys.exit(main())
