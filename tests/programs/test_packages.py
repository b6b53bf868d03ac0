"""The builds and the tests of packages of Debian give under every engine what they give under chroot."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.roots import give
from tests.programs.comparison import FAILED, OK, SKIPPED, Report, Results, Row, worse
from tests.programs.runners import Chroot, Engined, Runner, workplace
from tests.services.base_roots import debian_source
from tests.services.sharing import session_directory

PACKAGES = ("zlib", "sed", "grep")
SECONDS = 1500
# What was made for a release is touched, or make would call automake after Debian's patches.
# The manuals of some are written anew, without need.
BUILD = """
    for made in aclocal.m4 configure '*.hin' Makefile.in; do find . -name "$made" -exec touch {} +; done
    ./configure >configure.out 2>&1 && make -j2 MAKEINFO=true >make.out 2>&1 && make -k check MAKEINFO=true
"""
# Automake's tests, and what zlib's own say.
AUTOMAKE = re.compile(r"^(PASS|FAIL|SKIP|XFAIL|XPASS|ERROR): (.*)$", re.MULTILINE)
ZLIB = re.compile(r"^\s*\*\*\* (.*) (OK|FAILED) \*\*\*$", re.MULTILINE)
WORDS = {"PASS": OK, "XFAIL": OK, "OK": OK, "SKIP": SKIPPED}


@pytest.fixture(scope="session")
def sources() -> Iterator[Path]:
    with session_directory("sources") as directory:
        yield directory


def check_package(runner: Runner, source: Path) -> Results:
    """Configure, build and check a package; the results of its tests, and of the whole."""
    place = workplace(runner, source.name)
    target = runner.root / place[1:] / source.name
    shutil.copytree(source, target, symlinks=True)
    give(target)
    outcome = runner(f"cd {place}/{source.name} || exit\n{BUILD}", SECONDS)
    words = [*AUTOMAKE.findall(outcome.text), *((end, name) for name, end in ZLIB.findall(outcome.text))]
    results = {name: WORDS.get(word, FAILED) for word, name in words}
    assert results, f"{runner.name}: {outcome.status}: {outcome.text[-3000:]}"
    return {**results, "make check": OK if outcome.status == 0 else FAILED}


@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize("package", PACKAGES)
def test_packages_build_and_pass_their_tests_as_under_chroot(
    chroot: Chroot, engined: Engined, known: dict[str, Results], report: Report, sources: Path, package: str
) -> None:
    source = sources / package / package
    if not source.exists():
        source.parent.mkdir()
        debian_source(package, source.parent)
    if package not in known:
        known[package] = check_package(chroot, source)
    expected, found = known[package], check_package(engined, source)
    extra = worse(expected, found)
    row = Row(package, engined.name, expected, found, extra)
    report.add(row)
    assert not row.faults()
