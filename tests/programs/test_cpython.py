"""CPython's own test suite gives under every engine what it gives under chroot."""

from __future__ import annotations

from functools import partial

import pytest

from tests.programs.comparison import MISSING, OK, Report, Results, Row, steady, worse
from tests.programs.conftest import REPORT, RESULTS
from tests.programs.runners import Chroot, Engined, Runner, workplace

SMALL = ("posix", "shutil", "tempfile", "mmap")
FULL = """
    os posix subprocess signal threading pathlib shutil tempfile socket mmap multiprocessing_fork
    multiprocessing_spawn multiprocessing_forkserver multiprocessing_main_handling
    fcntl glob inspect mailbox pty select selectors tarfile zipfile
""".split()  # noqa: SIM905 - three lines read better than thirty
SECONDS = 900


def run_tests(runner: Runner, place: str, name: str) -> Results:
    """The results of a module of tests, or of a single one."""
    run = f"python3 /build/{RESULTS.name} results {SECONDS - 100} test.test_{name}"
    outcome = runner(f"cd {place} && {run}", SECONDS)
    lines = (runner.root / place[1:] / "results").read_text().splitlines()
    results = {test: result for result, _, test in (line.partition(" ") for line in lines)}
    assert outcome.status == 0, (
        f"{runner.name}: {name}: {outcome.status}: {lines[-1:]}: {outcome.text[-3000:]}"
    )
    return results


def run_again(runners: dict[str, Runner], mode: str, test: str) -> str:
    """The result of one test by itself."""
    place = workplace(runners[mode], "again")
    return run_tests(runners[mode], place, test.partition("test.test_")[2]).get(test, MISSING)


@pytest.mark.timeout(4 * SECONDS)
@pytest.mark.parametrize("module", FULL if REPORT else SMALL)
def test_cpythons_tests_give_what_they_give_under_chroot(
    chroot: Chroot, engined: Engined, known: dict[str, Results], report: Report, module: str
) -> None:
    if module not in known:
        known[module] = run_tests(chroot, workplace(chroot, module), module)
    expected, found = known[module], run_tests(engined, workplace(engined, module), module)
    assert sum(result == OK for result in expected.values()) > 5
    differing = worse(expected, found)
    again = partial(run_again, {"chroot": chroot, engined.name: engined})
    extra = {name: result for name, result in differing.items() if steady(name, again, engined.name)}
    unsteady = {name: result for name, result in differing.items() if name not in extra}
    row = Row(module, engined.name, expected, found, extra, unsteady)
    report.add(row)
    assert not row.faults()
