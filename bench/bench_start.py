"""How long a container takes to start: ``true`` by udocker, by its launcher alone, and by chroot(8).

chroot needs root.  As an ordinary user the measure is bubblewrap where it is installed, else ``true`` on the
host, which starts nothing around the program.

    python -m bench.bench_start [--rounds N] [--container NAME]

Without --container, one is made of the host's static busybox in a temporary UDOCKER_DIR.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from bench.timing import interleave, table
from udocker.config import Config
from udocker.engine.binaries import locate
from udocker.model.container import Container
from udocker.store.store import Store

NAME = "bench-start"
DOCUMENT = {"os": "linux", "config": {"Cmd": ["/bin/sh"]}}


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--container", help="an existing one, instead of a new one of busybox")
    options = parser.parse_args()
    with _container(options.container) as (container, env):
        base, cases = _cases(container, env["UDOCKER_BENCH_NAME"])
        seconds = interleave(cases, env, options.rounds)
    print(f"{options.rounds} rounds, interleaved; ratios to {base}")
    print(table(seconds, base))
    return 0


def _cases(container: Container, name: str) -> tuple[str, dict[str, list[str]]]:
    root = str(container.root)
    binds = [word for path in ("/proc", "/dev", "/sys") for word in ("--bind", path, path)]
    launcher = [str(locate("udocker-userns")), "--root", root, "--uid", "0", "--gid", "0", *binds]
    base, baseline = _baseline(root)
    return base, {
        base: baseline,
        "udocker-userns": [*launcher, "--", "/bin/true"],
        "python -c pass": [sys.executable, "-c", "pass"],  # what any program in Python costs here
        "udocker run": [str(Path(sys.executable).parent / "udocker"), "run", name, "true"],
    }


def _baseline(root: str) -> tuple[str, list[str]]:
    chroot, bwrap = shutil.which("chroot", path="/usr/sbin:/sbin"), shutil.which("bwrap")
    if os.geteuid() == 0 and chroot:
        return "chroot", [chroot, root, "/bin/true"]
    if bwrap:
        binds = [word for path in ("/proc", "/dev", "/sys") for word in ("--dev-bind", path, path)]
        return "bwrap", [bwrap, "--unshare-user", "--bind", root, "/", *binds, "/bin/true"]
    return "true on the host", [shutil.which("true") or "/bin/true"]


@contextmanager
def _container(name: Optional[str]) -> Iterator[tuple[Container, dict[str, str]]]:
    """The container to start, and the environment in which udocker finds it."""
    env = {**os.environ, "UDOCKER_BENCH_NAME": name or NAME}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its modules compiled
    if name:
        yield Store.at(Config.from_environment(env)).containers.find(name), env
        return
    busybox = shutil.which("busybox")
    if busybox is None:
        sys.exit("bench_start: needs a static busybox: apt-get install busybox-static")
    with tempfile.TemporaryDirectory() as directory:
        env["UDOCKER_DIR"] = directory
        containers = Store.at(Config.from_environment(env)).create().containers
        made = containers.create("busybox:latest", DOCUMENT, lambda root: _fill(root, busybox), "", {}, False)
        containers.name(made.id, NAME)
        yield made, env


def _fill(root: Path, busybox: str) -> None:
    (root / "bin").mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for applet in ("sh", "true"):
        (root / "bin" / applet).symlink_to("busybox")


if __name__ == "__main__":
    sys.exit(main())
