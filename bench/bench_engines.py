"""What a program pays for an engine: builds, searches, scripts and single calls in each, as ratios to chroot.

    python -m bench.bench_engines [--quick] [--jobs NAME...] [--engines NAME...] [--rounds N] [--trap PROGRAM]

Needs root, Debian, and the network once: a Debian root with a compiler, Python and two packages' sources is
made and kept (engine_stage.py).  Everything runs in it as an ordinary user, with what a real run binds;
chroot, to which the ratios are, is entered by root, who then becomes that user.  The jobs run in each engine
in turn.  Processor time is user and system of all processes, a tracer's too.

`make bench` takes ten minutes; --quick a fourth of it, with fewer rounds.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.engine_stage import ENGINES, HOME, PROGRAM, Stage, stage_set
from udocker.engine.binaries import PACKAGE

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)

# A peer that cannot do a job has no row for it.
PEERS = ("bubblewrap", "proot")

MODULES = (
    "argparse asyncio collections concurrent.futures csv ctypes dataclasses datetime decimal difflib "
    "email.message fractions http.client inspect json logging multiprocessing pathlib pickle platform random "
    "shutil socket sqlite3 ssl statistics subprocess tarfile tempfile threading typing unittest "
    "urllib.request uuid xml.etree.ElementTree xmlrpc.client zipfile"
)
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": HOME, "LC_ALL": "C"}
PROCESSES = 8
SLEEPERS = 20
DEEP = "/usr/local/share/bench/of/paths"  # seven components with the file


@dataclass(frozen=True)
class Job:
    """A shell script, how often it runs in each engine, and the goals: the most that each engine may take."""

    script: str
    rounds: int
    goals: Mapping[str, float]


T1, T2, P1 = "trap T1", "trap T2", "tracer P1"
JOBS = {
    "make -j2": Job(
        'make -s -C /src/lua/src clean && make -s -j2 -C /src/lua AR="ar rc" linux >/dev/null',
        3,
        {T1: 1.3, T2: 1.15, P1: 2.0},
    ),
    "find /usr": Job("find /usr >/dev/null", 9, {T1: 2.2, T2: 1.3, P1: 8.0}),
    "gcc -c": Job("for i in 1 2 3 4 5; do gcc -c -o /tmp/hello.o /src/hello.c; done", 7, {T1: 1.25, T2: 1.1}),
    "configure": Job(
        "mkdir -p /tmp/hello && cd /tmp/hello && /src/hello/configure -q >/dev/null", 2, {T1: 1.25, T2: 1.1}
    ),
    "python imports": Job(f"python3 -c 'import {MODULES.replace(' ', ',')}'", 7, {T1: 1.25, T2: 1.1}),
    "100 x true": Job("i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done", 9, {T1: 1.25, T2: 1.1}),
}


@dataclass
class Taken:
    """Seconds by the clock and of the processors, of every round."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument(
        "--jobs", nargs="*", choices=JOBS, default=list(JOBS), help="none for the tables alone"
    )
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--rounds", type=int, help="instead of each job's own")
    parser.add_argument("--no-tables", action="store_true", help="the jobs alone")
    parser.add_argument(
        "--trap", type=Path, default=Path(PACKAGE, "udocker-trap"), help="another build of the engine"
    )
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench_engines: needs root, for chroot: sudo make bench")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # each line as it is measured
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    engines = list(dict.fromkeys(["chroot", *options.engines]))
    with stage_set(options.trap) as stage:
        for name in options.jobs:
            rounds = options.rounds or max(2, JOBS[name].rounds // (3 if options.quick else 1))
            _report(name, JOBS[name], _measure(stage, JOBS[name].script, engines, rounds))
        if not options.no_tables:
            _calls(stage, engines)
            _together(stage, engines)
            _memory(stage, engines)
    return 0


def _measure(stage: Stage, script: str, engines: Sequence[str], rounds: int) -> dict[str, Taken]:
    """Interleaved, the order turned in every round; a first round that warms the caches is not counted."""
    taken = {engine: Taken() for engine in engines}
    for count in range(rounds + 1):
        for engine in (*engines[count % len(engines) :], *engines[: count % len(engines)]):
            try:
                wall, processor = _run(stage.argv(engine, ["/bin/sh", "-c", script]))
            except RuntimeError as failure:
                if engine not in PEERS:
                    raise
                print(f"  {engine} cannot do it: {str(failure)[-200:]}")
                return _measure(stage, script, [other for other in engines if other != engine], rounds)
            if count:
                taken[engine].wall.append(wall)
                taken[engine].processor.append(processor)
    return taken


def _run(argv: Sequence[str]) -> tuple[float, float]:
    begin = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, ENVIRONMENT)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begin
    processor = usage.ru_utime + usage.ru_stime + _tracers()
    if status != 0:
        raise RuntimeError(f"{' '.join(argv)}: status {os.waitstatus_to_exitcode(status)}")
    return wall, processor


def _tracers() -> float:
    """What engine P's tracers took, which outlive their programs and are left to us."""
    found = [one.pid for one in psutil.Process().children() if one.name() == "udocker-tracer"]
    usages = [os.wait4(pid, 0)[2] for pid in found]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _report(name: str, job: Job, taken: Mapping[str, Taken]) -> None:
    """Medians, and medians of each round's ratio to chroot in the same round."""
    rounds = len(taken["chroot"].wall)
    print(f"\n{name}: {rounds} rounds")
    print(f"  {'':<12} {'wall ms':>9} {'ratio':>6} {'cpu ms':>9} {'ratio':>6} {'goal':>6}")
    for engine, one in taken.items():
        wall, processor = (statistics.median(values) * 1000 for values in (one.wall, one.processor))
        wall_ratio = _ratio(one.wall, taken["chroot"].wall)
        ratio = _ratio(one.processor, taken["chroot"].processor)
        goal = job.goals.get(engine)
        verdict = f"{goal:>6.2f} {'met' if max(ratio, wall_ratio) <= goal else 'MISSED'}" if goal else ""
        print(f"  {engine:<12} {wall:>9.1f} {wall_ratio:>6.2f} {processor:>9.1f} {ratio:>6.2f} {verdict}")


def _ratio(values: Sequence[float], base: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(values, base))


def _calls(stage: Stage, engines: Sequence[str]) -> None:
    """Nanoseconds a call; of several runs the least, for a disturbance only adds."""
    best: dict[str, dict[str, float]] = {}
    for _ in range(3):
        for engine in engines:
            said = _output(stage, engine, "table", DEEP)
            for line in said.splitlines():
                call, text = line.split("\t")
                row = best.setdefault(call, {})
                row[engine] = min(row.get(engine, float("inf")), float(text))
    print("\nns a call, and ratios to chroot")
    print("  " + " " * 14 + "".join(f"{engine:>18}" for engine in engines))
    for call, row in best.items():
        cells = (f"{row[engine]:.0f} ({row[engine] / row['chroot']:.2f})" for engine in engines)
        print(f"  {call:<14}" + "".join(f"{cell:>18}" for cell in cells))


def _together(stage: Stage, engines: Sequence[str]) -> None:
    rates: dict[str, list[float]] = {engine: [] for engine in engines}
    for _ in range(5):
        for engine in engines:
            rates[engine].append(float(_output(stage, engine, "together", str(PROCESSES), "1", DEEP)))
    where = f"{PROCESSES} processes on {os.cpu_count()} cores"
    print(f"\n{where}: thousand path calls a second (goal of T2: 0.85)")
    for engine, values in rates.items():
        print(f"  {engine:<12} {statistics.median(values):>8.0f} {_ratio(values, rates['chroot']):>6.2f}")


def _output(stage: Stage, engine: str, *words: str) -> str:
    script = f'mkdir -p {DEEP} && exec {PROGRAM} "$@"'
    argv = stage.argv(engine, ["/bin/sh", "-c", script, "sh", *words])
    return subprocess.run(argv, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout


def _memory(stage: Stage, engines: Sequence[str]) -> None:
    """Of many processes at once, so that what they share is counted once."""
    print(f"\nmemory of {SLEEPERS} processes of sleep: KiB a process, and more than chroot's (goal: 100)")
    base = None
    for engine in engines:
        own, share = _memory_of(stage, engine)
        base = base or (own, share)
        more = f"{own - base[0]:>+7.0f} {share - base[1]:>+7.0f}"
        print(f"  {engine:<12} private {own:>6.0f} proportional {share:>6.0f} {more}")


def _memory_of(stage: Stage, engine: str) -> tuple[float, float]:
    script = f"i=0; while [ $i -lt {SLEEPERS} ]; do sleep 100 & i=$((i+1)); done; wait"
    argv = stage.argv(engine, ["/bin/sh", "-c", script])
    with subprocess.Popen(argv, env=ENVIRONMENT, start_new_session=True) as process:
        try:
            rows = [_rollup(one) for one in _sleepers(process)]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    return statistics.median(row[0] for row in rows), statistics.median(row[1] for row in rows)


def _sleepers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All of them, as soon as they sleep."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        children = psutil.Process(process.pid).children(recursive=True)
        ready = [one for one in children if one.name() == "sleep" and _sleeps(one)]
        if len(ready) == SLEEPERS:
            return ready
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r}: its children do not come to sleep")


def _sleeps(process: psutil.Process) -> bool:
    return "nanosleep" in Path(f"/proc/{process.pid}/wchan").read_text()


def _rollup(process: psutil.Process) -> tuple[int, int]:
    """Private and proportional memory, KiB: proc(5), smaps_rollup."""
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Pss"]


if __name__ == "__main__":
    sys.exit(main())
