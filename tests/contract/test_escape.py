"""No container sees or changes what lies outside its root and its binds, by any call that we know of.

What a container prints and does is judged from outside.  The same program, with the outside bound in, reaches
it by every call: that it does not is the engine's doing.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.cells import (
    HERE,
    TOKEN,
    Cell,
    Programs,
    compile_programs,
    handle_of,
    make_cell,
    remove_cell,
    state,
    unchanged,
)
from tests.contract.roots import identity_options
from tests.services.needs import need_i386
from udocker.engine import trap, userns

MILLISECONDS = "400"  # of each race


def named(file: str, table: str) -> list[str]:
    """The names in one of the attack program's tables."""
    text = (HERE / file).read_text()
    start = text.index(f"{table}[] = {{")
    names = re.findall(r'^    \{"([^"]+)", \w+\},$', text[start : text.index("{NULL", start)], re.MULTILINE)
    assert names
    return names


CALLS = named("sights.c", "sights") + named("acts.c", "acts")
SPACES = named("spaces.c", "spaces")
GIFT = "above-what-was-given"
TRICKS = [name for name in named("tricks.c", "tricks") if name not in ("program-is-replaced", GIFT)]
RACES = named("race.c", "races")
CHANGES = named("readonly.c", "changes")

# What an engine is started with, by a name for the tests.
ENGINES = {
    "T1": (trap.PROGRAM,),
    "T2": (trap.PROGRAM, "--patch"),
    "T1-old-kernel": (trap.PROGRAM, "--without", "openat2"),
    "P1": (trap.PROGRAM, "--trace", "--patch"),
    "P2": (trap.PROGRAM, "--trace-all"),
    "T2-root": (trap.PROGRAM, "--patch", "--uid", "0", "--gid", "0"),
    "P1-root": (trap.PROGRAM, "--trace", "--patch", "--uid", "0", "--gid", "0"),
    "R1": (userns.PROGRAM, "--uid", "0", "--gid", "0"),
    "T1-i386": (trap.PROGRAM,),
    "T1-old-kernel-i386": (trap.PROGRAM, "--without", "openat2"),
    "P1-i386": (trap.PROGRAM, "--trace", "--patch"),
    "P2-i386": (trap.PROGRAM, "--trace-all"),
    "T2-root-i386": (trap.PROGRAM, "--patch", "--uid", "0", "--gid", "0"),
}


@pytest.fixture(scope="session")
def programs(launchers: Path) -> Iterator[Programs]:
    with tempfile.TemporaryDirectory(prefix="udocker-escape-") as directory:
        Path(directory).chmod(0o755)
        yield compile_programs(Path(directory), launchers)


@pytest.fixture(scope="session")
def i386_programs(launchers: Path) -> Iterator[Programs]:
    """The same as 32-bit programs."""
    compiler = need_i386()
    with tempfile.TemporaryDirectory(prefix="udocker-escape-i386-") as directory:
        Path(directory).chmod(0o755)
        yield compile_programs(Path(directory), launchers, compiler)


def works(program: Path) -> bool:
    probe = subprocess.run([program, "--probe"], capture_output=True, check=False, **identity_options())
    return probe.returncode == 0


def over(*names: str) -> pytest.MarkDecorator:
    """The engines that a sentence is about, where it is not about all of them."""
    return pytest.mark.parametrize("cell", names, indirect=True)


@pytest.fixture(params=ENGINES)
def cell(request: pytest.FixtureRequest, programs: Programs) -> Iterator[Cell]:
    name, *options = ENGINES[request.param]
    if request.param.endswith("-i386"):
        programs = request.getfixturevalue("i386_programs")
    program = programs.launchers / name
    if not works(program):
        pytest.skip(f"this host does not support {request.param}")
    made = make_cell(programs, (str(program), *options))
    yield made
    remove_cell(made)


@pytest.mark.parametrize("name", CALLS)
def test_no_call_leads_outside(cell: Cell, name: str) -> None:
    with cell.host_process() as process, unchanged(cell) as judge:
        printed = cell.attack("calls", name, process=process)
        judge(printed)
    tried = re.search(r"tried (\d+) ways", printed)
    assert tried and int(tried[1]) > 45


@pytest.mark.parametrize("name", CALLS)
def test_the_same_call_reaches_what_lies_inside(cell: Cell, name: str) -> None:
    with cell.host_process(cell.let_in()):
        printed = cell.attack("calls", name, "direct")
    assert f"reached by {name}: " in printed


@pytest.mark.parametrize("name", SPACES)
def test_no_user_namespace_leads_outside(cell: Cell, name: str) -> None:
    with cell.host_process() as process, unchanged(cell) as judge:
        judge(cell.attack("spaces", name, process=process))


# T and P refuse mounts and changed roots altogether.
@over("R1")
@pytest.mark.parametrize("name", SPACES)
def test_the_same_namespace_reaches_what_lies_inside(cell: Cell, name: str) -> None:
    if name in ("fsopen", "overlay") and "overlay" not in Path("/proc/filesystems").read_text():
        pytest.skip("this kernel has no overlay file system")
    cell.let_in()
    assert f"reached by {name}: " in cell.attack("spaces", name, "direct")


@pytest.mark.parametrize("name", TRICKS)
def test_no_trick_leads_outside(request: pytest.FixtureRequest, cell: Cell, name: str) -> None:
    with cell.host_process() as process, unchanged(cell) as judge:
        more = handle_of(cell.outside / "secret") if name == "open_by_handle_at" else ""
        judge(cell.attack("tricks", name, more, process))


# In R the kernel lets it lead to all that is above it.
@over("T1", "T2", "T1-old-kernel", "T2-root", "P1", "P2", "T1-i386", "P1-i386", "P2-i386")
def test_a_descriptor_from_outside_does_not_lead_above_it(cell: Cell) -> None:
    with cell.host_process() as process, unchanged(cell) as judge:
        printed = cell.attack("tricks", GIFT, "/data/given", process)
        judge(printed)
        assert "nothing was given" not in printed


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_changes_what_is_bound_read_only(cell: Cell, name: str) -> None:
    kept = cell.keep(cell.outside / "kept")
    cell.binds.append(("--bind-ro", str(kept), "/kept"))
    with unchanged(cell) as judge:
        judge(cell.attack("changes", name, "/kept"))


@pytest.mark.parametrize("name", CHANGES)
def test_the_same_change_is_made_to_what_lies_inside(cell: Cell, name: str) -> None:
    kept = cell.keep(cell.root / "kept")
    before = state(kept)
    cell.attack("changes", name, "/kept")
    assert state(kept) != before


# Without openat2 (Linux 5.6) nothing holds a path between the look and the call: docs/architecture.md.
@over("T1", "T2", "T2-root", "P1", "P2", "R1", "T1-i386", "P1-i386", "P2-i386")
@pytest.mark.parametrize("name", RACES)
def test_no_race_leads_outside(cell: Cell, name: str) -> None:
    with unchanged(cell) as judge:
        judge(cell.attack("races", name, MILLISECONDS))


def test_the_same_race_reaches_what_is_bound(cell: Cell) -> None:
    cell.binds.append(("--bind", str(cell.outside), str(cell.outside)))
    assert TOKEN in cell.attack("races", "open", MILLISECONDS)
