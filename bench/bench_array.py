"""What a task of an array costs over plain sbatch, and what it takes until an image is ready for all of them.

    python -m bench.bench_array [--quick] [--part tasks|prepare] [--tasks N...] [--megabytes N...]

Needs root, the test cluster of tests/services/slurm (four nodes, 16 tasks at once) and its users, and the
network once, for udocker 1.3.17 from PyPI, which runs Debian's proot (execution mode P1).

The first part submits arrays of ``true``: by plain sbatch, by udocker-sbatch with a container that is there
(with a usage record of each task and without), and by plain sbatch with ``udocker run NAME`` in the script,
ours and that of 1.3.17, which keep no record and prepare nothing.  The second brings an image that nobody has
to eight tasks on four nodes: udocker-sbatch with one store, and 1.3.17 with pull, create and run in every
task, each with a store of its own, for it does not stand two pulls of an image at once.  All have /var/tmp
as their shared directory.  Half of an image's files are random bytes, half hexadecimal digits.

Slurm's own log tells when the script of a task was launched and when it had ended, to the millisecond.
--quick takes about three minutes.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from isal import igzip

from tests.services.base_images import SEARCH_PATH, busybox
from tests.services.cluster import Slurm, running_slurm
from tests.services.images import OCI_LAYER, Blob, ImageBuilder, digest_of, directory, file, tar_of
from tests.services.installation import installed
from tests.services.registry import Registry, run_registry
from tests.services.sharing import session_directory
from tests.services.udocker13 import udocker13
from tests.services.users import User, machine_user
from tests.services.waiting import wait_until
from udocker.system.files import remove_tree

USER = "udocker-test1"
PROGRAMS = ("slurmctld", "docker-registry", "busybox", "proot")
PLAIN, OURS, OLD = "sbatch", "udocker-sbatch", "udocker 1.3.17"
NAME = "bench"
# How many rounds of arrays of so many tasks, and of images of so many megabytes; and with --quick.
TASKS, QUICK_TASKS = {1: 9, 40: 5, 1000: 1}, {1: 2, 40: 2}
MEGABYTES, QUICK_MEGABYTES = {300: 3, 1000: 2}, {300: 1}
WARMING = 16  # one for each processor of the cluster
NODES, AT_ONCE = 4, 8
# Two such tasks fill a node.
WIDE = (f"--array=0-{AT_ONCE - 1}", "--cpus-per-task=2", "--mem=1500M", "--time=60")
LAYERS = 4
FILE_SIZES = (2_000, 20_000, 200_000)  # bytes; as many files of each
LIMIT = 3600.0  # seconds for an array


@dataclass(frozen=True)
class Taken:
    """Seconds: of the submission, from there until the last task had ended, and of each task's script."""

    submission: float
    whole: float
    tasks: Sequence[float]


@dataclass(frozen=True)
class Case:
    """A submitting command without the array's options, and what its environment has more."""

    argv: Sequence[str]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Site:
    """The cluster, a registry that its nodes reach, a user, and the directory that they share."""

    cluster: Slurm
    registry: Registry
    user: User
    place: Path
    ours: Path
    old: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "UDOCKER_DIR": str(self.place / "store"),
            "UDOCKER_INSECURE_REGISTRIES": self.registry.host,
        }

    @property
    def old_environment(self) -> dict[str, str]:
        return {
            "UDOCKER_DIR": str(self.place / "old"),
            "UDOCKER_TARBALL": "",  # it would look for engines to download, and sleep between tries
            "UDOCKER_USE_PROOT_EXECUTABLE": shutil.which("proot") or "proot",
        }

    def array(self, case: Case, *options: str) -> Taken:
        """Submit an array and wait for its end; raises RuntimeError where a task fails."""
        output = self.place / "output"
        output.unlink(missing_ok=True)
        words = ["--parsable", f"--output={output}", "--open-mode=append", *options]
        argv = [case.argv[0], *words, *case.argv[1:]]
        begin = time.time()
        job = self.user.run(argv, env=case.env, cwd=self.place, check=True).stdout.strip()
        submitted = time.time()
        try:
            wait_until(lambda: not _squeue(job), f"end of array {job}", LIMIT, every=0.5)
        except BaseException:  # an interrupt, too: others may use the cluster
            subprocess.run(["scancel", job], check=False)
            raise
        states = self.cluster.wait_for_end(job)
        if set(states.values()) != {"COMPLETED"}:
            said = output.read_text()[-500:] if output.exists() else "no output"
            raise RuntimeError(f"{' '.join(argv)}: {sorted(set(states.values()))}: {said}")
        spans = self._spans(job, len(states))
        tasks = [end - launched for launched, end in spans]
        return Taken(submitted - begin, max(end for _, end in spans) - begin, tasks)

    def _spans(self, job: str, count: int) -> list[tuple[float, float]]:
        records = self.cluster.records(job, "JobIDRaw")
        numbers = {record["JobIDRaw"] for record in records if "." not in record["JobID"]}

        def written() -> list[tuple[float, float]]:
            spans = [span for number, span in self.cluster.script_spans().items() if number in numbers]
            return spans if len(spans) == count else []

        return wait_until(written, f"{count} tasks of {job} in the nodes' logs", 10)


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and not the largest")
    parser.add_argument("--part", choices=("tasks", "prepare", "all"), default="all")
    parser.add_argument("--tasks", type=int, nargs="+", help="sizes of the arrays")
    parser.add_argument("--megabytes", type=int, nargs="+", help="sizes of the images, before compression")
    parser.add_argument("--rounds", type=int, help="instead of each size's own")
    options = parser.parse_args()
    _check_needs()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # each table as it is measured
    tasks = _rounds(QUICK_TASKS if options.quick else TASKS, options.tasks, options.rounds)
    sizes = _rounds(QUICK_MEGABYTES if options.quick else MEGABYTES, options.megabytes, options.rounds)
    with _site() as site:
        print(f"{NODES} nodes with 4 processors each to Slurm, on {os.cpu_count()} cores")
        if options.part != "prepare":
            _measure_tasks(site, tasks)
        if options.part != "tasks":
            for megabytes, rounds in sizes.items():
                _measure_prepare(site, megabytes, rounds)
    return 0


def _check_needs() -> None:
    if os.geteuid() != 0:
        sys.exit("bench_array: needs root, for the cluster: sudo make bench")
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if USER not in (entry.pw_name for entry in pwd.getpwall()):
        missing.append(f"the user {USER}")
    if missing:
        sys.exit(f"bench_array: needs {', '.join(missing)}: run tests/services/install")


def _rounds(
    usual: Mapping[int, int], asked: Optional[Sequence[int]], rounds: Optional[int]
) -> dict[int, int]:
    """How many rounds of each size; of one that is not among the usual, as many as of the next larger."""
    found = {}
    for size in asked or usual:
        larger = [other for other in sorted(usual) if other >= size]
        found[size] = rounds or (usual[larger[0]] if larger else 1)
    return found


@contextmanager
def _site() -> Iterator[Site]:
    with (
        machine_user(USER) as user,
        installed() as ours,
        udocker13() as old,
        running_slurm() as cluster,
        run_registry(cluster.head_address) as registry,
        session_directory("place") as place,
    ):
        os.chown(place, user.uid, user.gid)
        yield Site(cluster, registry, user, place, ours, old)


def _squeue(job: str) -> str:
    """The tasks that have not ended, a word each or a range of them; nothing for a job that is forgotten."""
    command = ["squeue", "-h", "-o", "%i", "-j", job]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "Invalid job id" not in done.stderr:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def _measure_tasks(site: Site, sizes: Mapping[int, int]) -> None:
    reference = busybox().push(site.registry)
    _create_named(site, reference)
    ours = [str(site.ours / "udocker-sbatch"), f"--image={reference}"]
    run = f"exec {site.ours / 'udocker'} run {NAME} true"
    old_run = f"exec {site.old} run --nobanner {NAME} true"
    cases = {
        PLAIN: Case(["sbatch", "--wrap=true"], {}),
        OURS: Case([*ours, "--", "true"], site.environment),
        "the same, --no-usage": Case([*ours, "--no-usage", "--", "true"], site.environment),
        "udocker run": Case(["sbatch", f"--wrap={run}"], site.environment),
        f"{OLD} run": Case(["sbatch", f"--wrap={old_run}"], site.old_environment),
    }
    for case in cases.values():  # prepares, and warms the caches
        site.array(case, f"--array=1-{WARMING}")
    for count, rounds in sizes.items():
        taken: dict[str, list[Taken]] = {name: [] for name in cases}
        for number in range(rounds):
            for name in _turned(list(cases), number):
                taken[name].append(site.array(cases[name], f"--array=1-{count}"))
        print(f"\n{count} tasks of true: {rounds} rounds, interleaved, medians; ratios to sbatch")
        print(_task_table(taken, count))


def _turned(names: Sequence[str], number: int) -> list[str]:
    start = number % len(names)
    return [*names[start:], *names[:start]]


def _create_named(site: Site, reference: str) -> None:
    """The containers of ``udocker run NAME``, one in the store of each program."""
    create = [site.ours / "udocker", "create", f"--name={NAME}", reference]
    site.user.run(create, env=site.environment, check=True)
    image = reference.partition("/")[2]
    for words in (["pull", f"--registry={site.registry.url}", image], ["create", f"--name={NAME}", image]):
        site.user.run([site.old, *words], env=site.old_environment, check=True)


def _task_table(taken: Mapping[str, Sequence[Taken]], count: int) -> str:
    """``more`` is what each task adds to sbatch's: to its script, and to the array's time divided by all."""
    columns = ("submit s", "script ms", "ratio", "more ms", "array s", "range", "ratio", "more ms/task")
    widths = (8, 9, 6, 7, 8, 14, 6, 12)
    lines = [f"{'':<20} " + " ".join(f"{name:>{width}}" for name, width in zip(columns, widths))]
    base_script, base_whole = _medians(taken[PLAIN])
    for name, runs in taken.items():
        script, whole = _medians(runs)
        cells = (
            f"{statistics.median(run.submission for run in runs):.2f}",
            f"{script * 1000:.0f}",
            f"{script / base_script:.2f}",
            f"{(script - base_script) * 1000:+.0f}",
            f"{whole:.2f}",
            _range([run.whole for run in runs]),
            f"{whole / base_whole:.2f}",
            f"{(whole - base_whole) / count * 1000:+.1f}",
        )
        lines.append(f"{name:<20} " + " ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths)))
    return "\n".join(lines)


def _medians(runs: Sequence[Taken]) -> tuple[float, float]:
    """Of the scripts of all tasks of all rounds, and of the arrays."""
    scripts = [seconds for run in runs for seconds in run.tasks]
    return statistics.median(scripts), statistics.median(run.whole for run in runs)


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f}-{max(values):.2f}"


@dataclass(frozen=True)
class Prepared:
    """An array from cold; what the registry sent, and what the stores take on the disk, in MB."""

    taken: Taken
    sent: float
    kept: float


def _measure_prepare(site: Site, megabytes: int, rounds: int) -> None:
    reference, compressed = _push(site.registry, megabytes)
    cases = _prepare_cases(site, reference)
    needed = AT_ONCE * (megabytes + compressed) * 1_100_000
    free = shutil.disk_usage(site.place).free
    if free < needed:
        del cases[OLD]
        print(
            f"{OLD} with {megabytes} MB: needs {needed / 1e9:.0f} GB in {site.place}, {free / 1e9:.0f} free"
        )
    prepared: dict[str, list[Prepared]] = {name: [] for name in cases}
    for number in range(rounds):
        for name in _turned(list(cases), number):
            prepared[name].append(_from_cold(site, cases[name]))
    print(
        f"\n{megabytes} MB ({compressed:.0f} compressed, {LAYERS + 1} layers) from cold: {AT_ONCE} tasks of"
    )
    print(f"true on {NODES} nodes, {rounds} rounds, interleaved, medians; ratios to the last line")
    print(_prepare_table(prepared))


def _prepare_cases(site: Site, reference: str) -> dict[str, Case]:
    image = reference.partition("/")[2]
    old = f"{site.old} %s >/dev/null"
    script = " && ".join(
        [
            f"export UDOCKER_DIR={site.place}/old/$SLURM_ARRAY_TASK_ID",
            old % f"pull --registry={site.registry.url} {image}",
            old % f"create --name={NAME} {image}",
            f"exec {site.old} run --nobanner {NAME} true",
        ]
    )
    ours = [str(site.ours / "udocker-sbatch"), f"--image={reference}", "--", "true"]
    return {
        OURS: Case(ours, site.environment),
        OLD: Case(["sbatch", f"--wrap={script}"], site.old_environment),
    }


def _from_cold(site: Site, case: Case) -> Prepared:
    stores = Path(case.env["UDOCKER_DIR"])
    _remove(stores)
    stores.mkdir()
    os.chown(stores, site.user.uid, site.user.gid)
    os.sync()  # so that nobody pays for what the other one wrote
    site.registry.clear()
    taken = site.array(case, *WIDE)
    sent = sum(request.size for request in site.registry.requests() if request.method == "GET") / 1e6
    used = subprocess.run(["du", "-s", "-B1", stores], capture_output=True, text=True, check=True).stdout
    _remove(stores)
    return Prepared(taken, sent, int(used.split()[0]) / 1e6)


def _remove(tree: Path) -> None:
    if tree.exists():
        remove_tree(tree)


def _prepare_table(prepared: Mapping[str, Sequence[Prepared]]) -> str:
    lines = [
        f"{'':<20} {'array s':>8} {'range':>14} {'ratio':>6} {'task s':>7} {'sent MB':>8} {'disk MB':>8}"
    ]
    *_, last = (_medians([one.taken for one in runs])[1] for runs in prepared.values())
    for name, runs in prepared.items():
        script, whole = _medians([one.taken for one in runs])
        spread = _range([one.taken.whole for one in runs])
        sent, kept = (statistics.median(values) for values in zip(*((one.sent, one.kept) for one in runs)))
        times = f"{whole:>8.2f} {spread:>14} {whole / last:>6.2f} {script:>7.2f}"
        lines.append(f"{name:<20} {times} {sent:>8.0f} {kept:>8.0f}")
    return "\n".join(lines)


def _push(registry: Registry, megabytes: int) -> tuple[str, float]:
    """An image of busybox and that many megabytes of files; its reference, and its megabytes compressed."""
    base = busybox()
    builder = ImageBuilder()
    [lowest] = [blob for blob in base.builder.parts(base.image) if blob.diff_id]
    layers = [builder.add(lowest)]
    for number in range(LAYERS):
        tar = _files(f"data{number}", megabytes * 1_000_000 // LAYERS)
        compressed = igzip.compress(tar, compresslevel=2)
        layers.append(builder.add(Blob(f"{OCI_LAYER}+gzip", compressed, digest_of(tar))))
    image = builder.image(layers, cmd=["/bin/sh"], env=[SEARCH_PATH])
    repository = f"bench/array-{megabytes}"
    builder.push(registry.url, repository, "1", image)
    return f"{registry.host}/{repository}:1", sum(len(layer.data) for layer in layers) / 1e6


def _files(top: str, total: int) -> bytes:
    """A tar of about ``total`` bytes of files, every second of which can be compressed to a half."""
    members = [directory(top)]
    for number in range(2 * total // (2 * sum(FILE_SIZES)) * len(FILE_SIZES)):
        size = FILE_SIZES[number % len(FILE_SIZES)]
        data = os.urandom(size) if number % 2 else os.urandom(size // 2).hex().encode()
        members.append(file(f"{top}/{number}", data))
    return tar_of(members)


if __name__ == "__main__":
    sys.exit(main())
