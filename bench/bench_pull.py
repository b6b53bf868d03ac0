"""How long a pull takes: ``udocker pull`` against ``skopeo copy`` and udocker 1.3.17, from loopback.

    python -m bench.bench_pull [--rounds N] [--megabytes N] [--directory D]

The registry is Debian's docker-registry; the image is of random bytes, in layers of uneven sizes.  All write
to the same file system, and what they wrote is removed and written back before the next is timed.  udocker
1.3.17 comes from PyPI, into an environment of its own, if PyPI can be reached.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.services.images import ImageBuilder, file
from tests.services.registry import Registry, run_registry

SHARES = (0.5, 0.25, 0.15, 0.07, 0.03)
NAME, TAG = "bench/pull", "1"
PEER = "udocker==1.3.17"
BASE = "skopeo copy oci:"
# Starts a program and prints its status, seconds and peak of memory in KB.  It is a small one, as the peak of
# a program that is started counts from that of its parent (getrusage(2), ru_maxrss, is kept over execve).
_MEASURE = """
import os, sys, time
begin = time.perf_counter()
null = os.open(os.devnull, os.O_WRONLY)
quiet = [(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(pid, 0)
print(status, time.perf_counter() - begin, usage.ru_maxrss)
"""


@dataclass(frozen=True)
class Case:
    """A command, its environment beside this program's, and the directory that it fills."""

    argv: Sequence[str]
    env: Mapping[str, str]
    target: Path


@dataclass(frozen=True)
class Run:
    """Seconds, and the peak of resident memory of the command and its children in MB."""

    seconds: float
    megabytes: float


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--directory", help="where to write (default: the temporary directory)")
    options = parser.parse_args()
    for program, package in (("docker-registry", "docker-registry"), ("skopeo", "skopeo")):
        if shutil.which(program) is None:
            sys.exit(f"bench_pull: needs {program}: apt-get install {package}")
    with tempfile.TemporaryDirectory(dir=options.directory) as name, run_registry() as registry:
        _push(registry, options.megabytes)
        cases = _cases(Path(name), registry)
        runs = _interleave(cases, options.rounds)
        print(f"{options.megabytes} MB in {len(SHARES)} layers; {options.rounds} rounds, interleaved")
        print(_table(runs))
    return 0


def _push(registry: Registry, megabytes: int) -> None:
    builder = ImageBuilder()
    layers = [
        builder.layer([file(f"data{number}", os.urandom(int(share * megabytes * 1e6)))], "plain")
        for number, share in enumerate(SHARES)
    ]
    builder.push(registry.url, NAME, TAG, builder.image(layers))


def _cases(directory: Path, registry: Registry) -> dict[str, Case]:
    image = f"{registry.host}/{NAME}:{TAG}"
    udocker = str(Path(sys.executable).parent / "udocker")
    skopeo = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", f"docker://{image}"]
    cases = {
        BASE: Case([*skopeo, f"oci:{directory}/oci:x"], {}, directory / "oci"),
        "skopeo copy dir:": Case([*skopeo, f"dir:{directory}/dir"], {}, directory / "dir"),
    }
    for count in (1, 3, 6):
        store = directory / f"store{count}"
        env = {"UDOCKER_DIR": str(store), "UDOCKER_REGISTRY_PARALLEL": str(count)}
        cases[f"udocker pull, {count} at once"] = Case([udocker, "pull", "-q", image], env, store)
    old = _peer(directory / "peer")
    if old is not None:
        store = directory / "old"
        argv = [str(old), "--allow-root", "pull", f"--registry={registry.url}", f"{NAME}:{TAG}"]
        cases["udocker 1.3.17 pull"] = Case(argv, {"UDOCKER_DIR": str(store)}, store)
    return cases


def _peer(directory: Path) -> Path | None:
    """The program of udocker 1.3.17; None where it cannot be had."""
    subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
    command = [str(directory / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", PEER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"without {PEER}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return directory / "bin" / "udocker"


def _interleave(cases: Mapping[str, Case], rounds: int) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {name: [] for name in cases}
    for count in range(rounds + 1):  # the first warms the caches
        for name, case in cases.items():
            run = _run(case)
            if count:
                runs[name].append(run)
            shutil.rmtree(case.target)
            os.sync()  # so that nobody pays for what the other one wrote
    return runs


def _run(case: Case) -> Run:
    # This tree's own package is not the peer's.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    measure = [sys.executable, "-I", "-S", "-c", _MEASURE, *case.argv]
    done = subprocess.run(
        measure, env={**environ, **case.env}, capture_output=True, text=True, check=False
    ).stdout.split()
    if len(done) != 3 or done[0] != "0":
        raise RuntimeError(f"{' '.join(case.argv)}: status {done[:1]}")
    return Run(float(done[1]), int(done[2]) / 1024)


def _table(runs: Mapping[str, Sequence[Run]]) -> str:
    base = statistics.median(run.seconds for run in runs[BASE])
    lines = [f"{'':<26} {'median s':>9} {'range':>13} {'ratio':>6} {'peak MB':>8}"]
    for name, values in runs.items():
        seconds = [run.seconds for run in values]
        middle, peak = statistics.median(seconds), max(run.megabytes for run in values)
        spread = f"{min(seconds):.2f}-{max(seconds):.2f}"
        lines.append(f"{name:<26} {middle:>9.2f} {spread:>13} {middle / base:>6.2f} {peak:>8.0f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
