"""Engine P beside Debian's PRoot: single programs, builds at the same time, and a simulation by GROMACS.

    python -m bench.bench_tracer [--quick] [--parts rows builds mdrun] [--rows NAME...] [--builds NAME...]
        [--cases NAME...] [--trap PROGRAM]

Needs root, Debian's packages proot, gcc and mmdebstrap, and the network once: the root of bench_engines
(engine_stage.py), and one with GROMACS (mdrun_stage.py), are made and kept.  Everything runs as an ordinary
user; chroot, to which the ratios are, is entered by root first.  What is compared runs in turn, so that what
disturbs the machine disturbs all alike.

Debian 12's PRoot, 5.1, leads calls that it does not know to the host (statx, faccessat2), so that some
programs fail in it: another one is taken where it comes first in PATH.

--quick takes fewer rounds and shorter runs.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.bench_engines import ENVIRONMENT, JOBS
from bench.engine_stage import Stage, need, stage_set
from bench.mdrun_stage import SYSTEM, mdrun_stage
from bench.timing import run_once
from udocker.engine.binaries import PACKAGE

CHROOT, P1, P2, PROOT = "chroot", "tracer P1", "tracer P2", "proot"
CASES = (CHROOT, P1, P2, PROOT)
# With tracer and tracees on one processor.
TOGETHER = ", one cpu"
HERE = Path(__file__).resolve().parent
CALLS = "/home/bench/tracer_calls"
NOTHING = "/home/bench/nothing"
TWICE = 2.0  # what PRoot is to take, at least, of P1's time
NEVER_SLOWER = 1.0
PARTS = ("rows", "builds", "mdrun")
BUILDS = (1, 2, 4, 8)
# In a directory of each one's own.  Debian 12's PRoot cannot do the first.
BUILD = {
    "configure and make of hello": "/src/hello/configure -q >/dev/null && make -s >/dev/null 2>&1",
    "make of Lua": "cp -r /src/lua/. . && make -s clean && make -s AR='ar rc' linux >/dev/null",
}


@dataclass(frozen=True)
class Row:
    """A script, and how often it is timed."""

    script: str
    rounds: int
    prints: bool = False  # its own measure, instead of the clock's


ROWS = {
    "make -j2": Row(JOBS["make -j2"].script, 2),
    "configure": Row(JOBS["configure"].script, 2),
    "1,800 execs": Row("i=0; while [ $i -lt 1800 ]; do /bin/true; i=$((i+1)); done", 3),
    "1,800 bare execs": Row(f"i=0; while [ $i -lt 1800 ]; do {NOTHING}; i=$((i+1)); done", 3),
    "stat": Row(f"{CALLS} stat 20000", 5, prints=True),
    "open+close": Row(f"{CALLS} open 10000", 5, prints=True),
    "python imports": Row(JOBS["python imports"].script, 7),
    "find": Row(JOBS["find /usr"].script, 7),
    "ls -lR": Row("ls -lR /usr >/dev/null", 5),
    "tar": Row("tar -C / -cf - usr | cat >/dev/null", 5),
}
# How mdrun spreads over two processors.
SPREAD = {"2 OpenMP threads": "-ntmpi 1 -ntomp 2", "2 thread-MPI ranks": "-ntmpi 2 -ntomp 1"}
PERFORMANCE = re.compile(r"^Performance: +([\d.]+)", re.MULTILINE)
OWN_WALL = re.compile(r"^ +Time: +[\d.]+ +([\d.]+)", re.MULTILINE)


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter runs")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--builds", nargs="+", choices=BUILD, default=list(BUILD))
    parser.add_argument("--cases", nargs="+", choices=CASES[1:], default=list(CASES[1:]))
    parser.add_argument(
        "--trap", type=Path, default=Path(PACKAGE, "udocker-trap"), help="another build of the engine"
    )
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench_tracer: needs root, for chroot: sudo make bench")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # each line as it is measured
    cases = (CHROOT, *options.cases)
    with stage_set(options.trap) as stage:
        if "rows" in options.parts:
            _rows(stage, cases, options.rows, options.quick)
        for name in options.builds if "builds" in options.parts else ():
            _builds(stage, cases, name, options.quick)
        if "mdrun" in options.parts:
            _mdrun(mdrun_stage(stage), cases, options.quick)
    return 0


# ---- single programs ----


def _rows(stage: Stage, shown: Sequence[str], names: Sequence[str], quick: bool) -> None:
    compiler = [need("gcc", "gcc"), "-O2", "-Wall", "-Wextra", "-Werror", "-static"]
    for program, options in ((CALLS, ()), (NOTHING, ("-nostdlib",))):
        name = Path(program).name
        target = stage.directory / "home" / name
        subprocess.run([*compiler, *options, "-o", target, HERE / f"{name}.c"], check=True)
    cases = [*shown, *(case + TOGETHER for case in shown if case in (P1, P2) and not quick)]
    print("medians (ms; ns of stat and open+close), ratios to chroot, and of PRoot's to P1's: at least twice")
    print(f"  {'':<17}" + "".join(f"{case:>21}" for case in cases) + f"{'proot/P1':>10}")
    for name in names:
        row = ROWS[name]
        taken = _interleaved(stage, row, cases, min(2, row.rounds) if quick else row.rounds)
        middle = {case: statistics.median(values) for case, values in taken.items() if values}
        cells = "".join(f"{_cell(middle, case, row):>21}" for case in cases)
        print(f"  {name:<17}{cells}{_judged(middle)}")


def _interleaved(stage: Stage, row: Row, cases: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """What each round of every case took; a first one, that warms the caches, is not counted.

    A peer that cannot run it has none.
    """
    taken: dict[str, list[float]] = {case: [] for case in cases}
    able = list(cases)
    for count in range(rounds + 1):
        for case in tuple(able):
            try:
                one = _once(_argv(stage, case, row.script), row)
            except (RuntimeError, subprocess.CalledProcessError):
                if not case.startswith(PROOT):
                    raise
                able.remove(case)
                continue
            if count:
                taken[case].append(one)
    return taken


def _argv(stage: Stage, case: str, script: str) -> list[str]:
    argv = stage.argv(case.removesuffix(TOGETHER), ["/bin/sh", "-c", script])
    return [need("taskset", "util-linux"), "-c", "0", *argv] if case.endswith(TOGETHER) else argv


def _once(argv: Sequence[str], row: Row) -> float:
    """Milliseconds by the clock, or the nanoseconds that the program prints."""
    if not row.prints:
        return run_once(argv, ENVIRONMENT) * 1000
    return float(subprocess.run(argv, env=ENVIRONMENT, check=True, capture_output=True).stdout)


def _cell(middle: Mapping[str, float], case: str, row: Row) -> str:
    if case not in middle:
        return "cannot"
    return f"{middle[case]:.{0 if row.prints else 1}f} ({middle[case] / middle[CHROOT]:.2f})"


def _judged(middle: Mapping[str, float]) -> str:
    if not {P1, PROOT} <= {*middle}:
        return ""
    reached, possible = middle[PROOT] / middle[P1], middle[PROOT] / middle[CHROOT]
    verdict = "met" if reached >= TWICE else "MISSED" if possible >= TWICE else "chroot itself is not"
    return f"{reached:>10.2f} {verdict}"


# ---- builds ----


def _builds(stage: Stage, cases: Sequence[str], name: str, quick: bool) -> None:
    print(f"\n{name}, so many at once: seconds, ratios to chroot, and of PRoot's to P1's")
    print(f"  {'':<17}" + "".join(f"{case:>21}" for case in cases) + f"{'proot/P1':>10}")
    for number in (1, 4) if quick else BUILDS:
        taken: dict[str, list[float]] = {case: [] for case in cases}
        for count in range(1 if quick or number == BUILDS[-1] else 2):
            for case in cases[:: -1 if count else 1]:
                taken[case] += _build(stage, case, BUILD[name], number)
        middle = {case: statistics.median(values) for case, values in taken.items() if values}
        cells = "".join(f"{_seconds(middle, case):>21}" for case in cases)
        print(f"  {number:<17}{cells}{_judged_builds(middle)}")


def _seconds(middle: Mapping[str, float], case: str) -> str:
    return f"{middle[case]:.1f} ({middle[case] / middle[CHROOT]:.2f})" if case in middle else "cannot"


def _judged_builds(middle: Mapping[str, float]) -> str:
    if not {P1, PROOT} <= {*middle}:
        return ""
    reached = middle[PROOT] / middle[P1]
    return f"{reached:>10.2f} {'met' if reached >= NEVER_SLOWER else 'MISSED'}"


def _build(stage: Stage, case: str, script: str, number: int) -> Iterator[float]:
    """Seconds until the last is done, each a run of the engine of its own; none where a peer cannot."""
    places = [f"/tmp/build{index}" for index in range(number)]
    scripts = [f"mkdir -p {place} && cd {place} && {script}" for place in places]
    begin = time.perf_counter()
    started = [subprocess.Popen(_argv(stage, case, each), env=ENVIRONMENT) for each in scripts]
    statuses = [process.wait() for process in started]
    seconds = time.perf_counter() - begin
    subprocess.run(["rm", "-rf", *(stage.directory / place[1:] for place in places)], check=True)
    if not any(statuses):
        yield seconds
    elif case != PROOT:
        raise RuntimeError(f"builds in {case}: {statuses}")


# ---- GROMACS ----


@dataclass(frozen=True)
class Simulated:
    """What a simulation reached, and the seconds that it took by its own word and by the clock."""

    nanoseconds_a_day: float
    own: float
    clock: float


def _mdrun(stage: Stage, cases: Sequence[str], quick: bool) -> None:
    for spread, words in SPREAD.items():
        seconds = 6 if quick else 30
        print(f"\nmdrun, {spread}, {seconds} s; goals: P1 0.97 of ns/day, P2's clock 1.2 of its own wall")
        heads = f"{'ns/day':>9} {'ratio':>6} {'its wall':>9} {'clock':>7} {'clock/wall':>10}"
        print(f"  {'':<12}{heads}")
        runs: dict[str, list[Simulated]] = {case: [] for case in cases}
        for count in range(1 if quick else 2):
            for case in cases[:: -1 if count else 1]:
                runs[case] += _simulated(stage, case, words, seconds)
        _report_mdrun(runs)


def _report_mdrun(runs: Mapping[str, Sequence[Simulated]]) -> None:
    base = _middle(runs[CHROOT])
    for case, found in runs.items():
        if not found:
            print(f"  {case:<12} cannot")
            continue
        one = _middle(found)
        speed, share = one.nanoseconds_a_day / base.nanoseconds_a_day, one.clock / one.own
        goals = {P1: speed >= 0.97, P2: share <= 1.2}
        verdict = {True: "met", False: "MISSED"}[goals[case]] if case in goals else ""
        print(
            f"  {case:<12}{one.nanoseconds_a_day:>9.2f} {speed:>6.3f} {one.own:>9.2f} {one.clock:>7.2f} "
            f"{share:>10.2f} {verdict}"
        )


def _middle(runs: Sequence[Simulated]) -> Simulated:
    columns = zip(*((one.nanoseconds_a_day, one.own, one.clock) for one in runs))
    return Simulated(*map(statistics.median, columns))


def _simulated(stage: Stage, case: str, words: str, seconds: float) -> Iterator[Simulated]:
    """One run, which ends itself after so long; none where a peer cannot."""
    log = stage.directory / "tmp/run.log"
    log.unlink(missing_ok=True)
    files = f"-s {SYSTEM}/water.tpr -deffnm run -noconfout"
    gmx = f"cd /tmp && exec gmx mdrun {files} -nsteps -1 -maxh {seconds / 3600:.6f} {words}"
    begin = time.perf_counter()
    result = subprocess.run(_argv(stage, case, gmx), env=ENVIRONMENT, capture_output=True, check=False)
    clock = time.perf_counter() - begin
    if result.returncode != 0:
        if case != PROOT:
            raise RuntimeError(f"mdrun in {case}: {result.stderr.decode()[-2000:]}")
        return
    text = log.read_text()
    found, own = PERFORMANCE.search(text), OWN_WALL.search(text)
    assert found and own, f"mdrun in {case}: its log tells no speed"
    yield Simulated(float(found[1]), float(own[1]), clock)


if __name__ == "__main__":
    sys.exit(main())
