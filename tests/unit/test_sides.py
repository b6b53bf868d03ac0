"""How the tests are handed out to processes side by side, by a few tests of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.installation import CHECKOUT
from tests.services.sides import OF_THE_CLUSTER

CONFTEST = """
import os, pytest
from tests.conftest import pytest_collection_modifyitems, pytest_terminal_summary, pytest_sessionfinish
from tests.conftest import pytest_xdist_make_scheduler

@pytest.fixture(scope="session")
def slurm(): return None

@pytest.fixture
def node(slurm): return None

@pytest.fixture(autouse=True)
def told(request):
    with open("told", "a") as file:
        print(os.environ.get("PYTEST_XDIST_WORKER"), request.node.location[0], file=file)
"""
FILE = """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_here(number): {here}

@pytest.mark.parametrize("number", range(4))
def test_there(number{fixture}): pass
"""
FILES = ("tests/a/test_here.py", "tests/b/test_here.py", "tests/c/test_here.py")
CLUSTER = (OF_THE_CLUSTER[0], OF_THE_CLUSTER[-1])
SIDES = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")


def run(place: Path, *options: str, here: str = "pass", **more: str) -> subprocess.CompletedProcess[str]:
    """Let pytest run them; which process ran which is in the file "told"."""
    (place / "conftest.py").write_text(CONFTEST)
    for name in (*FILES, *CLUSTER):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        fixture = ", node" if name in CLUSTER else ""
        (place / name).write_text(FILE.format(here=here, fixture=fixture))
    words = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", f"--rootdir={place}", *options)
    kept = {name: value for name, value in os.environ.items() if name != "CI" and "PYTEST" not in name}
    env = {**kept, "PYTHONPATH": str(CHECKOUT), **more}
    command = [sys.executable, "-m", "pytest", *words]
    return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)


def told(place: Path) -> list[list[str]]:
    """Process and file of each test, in the order of their starts."""
    return [line.split() for line in (place / "told").read_text().splitlines()]


def test_one_process_has_the_clusters_files_and_every_file_stays_whole(tmp_path: Path) -> None:
    result = run(tmp_path, *SIDES)
    assert result.returncode == 0, result
    lines = told(tmp_path)
    assert len(lines) == 8 * len((*FILES, *CLUSTER))
    assert {process for process, _ in lines} == {"gw0", "gw1"}
    assert len({process for process, file in lines if file in CLUSTER}) == 1
    for name in FILES:
        assert len({process for process, file in lines if file == name}) == 1


def test_the_clusters_files_come_first(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.returncode == 0, result
    assert [file in CLUSTER for _, file in told(tmp_path)] == [True] * 16 + [False] * 24


def test_a_test_of_the_cluster_in_another_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_more.py").write_text("def test_more(slurm): pass\n")
    result = run(tmp_path)
    assert result.returncode == 4, result
    assert "test_more.py::test_more is of the cluster" in result.stderr


@pytest.mark.parametrize("options", [(), SIDES])
def test_a_skip_fails_the_run_of_continuous_integration(tmp_path: Path, options: tuple[str, ...]) -> None:
    here = "pytest.skip('not here')"
    assert run(tmp_path, *options, here=here).returncode == 0
    result = run(tmp_path, *options, here=here, CI="true")
    assert result.returncode == 1, result
    assert f"skipped: {FILES[1]}::test_here[2]" in result.stdout
