"""Engine T's and P's 32-bit programs: the table of their calls, and what they get from them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.needs import need_command, need_i386
from tests.unit.test_native_calls import WITHOUT_PATHS, entries
from tests.unit.test_native_root import USERS
from tests.unit.test_native_trap import CHECKS, NATIVE, VARIANTS, WARNINGS, Guest, guest, programs, run

__all__ = ["guest", "programs"]  # fixtures

TABLE = NATIVE / "trap/i386.def"
HEADERS = [
    Path("/usr/include/x86_64-linux-gnu/asm/unistd_32.h"),
    Path("/usr/include/asm/unistd_32.h"),
]
ENTRY = re.compile(r"^I386\((\d+), (\w+), (\w+), ([A-Z| ]+), (\w+)\)$", re.MULTILINE)
# The calls that i386 alone has: none takes a path, nor puts a handler or a mask in force.
ALONE = """
_llseek _newselect bdflush break clock_adjtime64 clock_getres_time64 clock_gettime64 clock_nanosleep_time64
clock_settime64 fadvise64_64 fcntl64 fstatfs64 ftime ftruncate64 futex_time64 gtty idle io_pgetevents_time64
ipc lock mmap2 mpx mq_timedreceive_time64 mq_timedsend_time64 nice oldfstat prof profil readdir
rt_sigtimedwait_time64 sched_rr_get_interval_time64 semtimedop_time64 sendfile64 sgetmask sigpending stime
stty timer_gettime64 timer_settime64 timerfd_gettime64 timerfd_settime64 ugetrlimit ulimit vm86 vm86old
waitpid
""".split()  # noqa: SIM905 - lines of words read better than a line each
# Those in which the engines of 32-bit programs differ; a rewritten call site is one of 64 bits.
TRIED = ("trap", "old-kernel", "no-mm-map", "trace-patch", "trace-all")
as_i386 = pytest.mark.parametrize("guest", TRIED, indirect=True)
as_root = pytest.mark.parametrize(
    "guest",
    [
        ("--uid", "0", "--gid", "0"),
        ("--uid", "0", "--gid", "0", "--trace"),
        ("--uid", "0", "--gid", "0", "--trace-all"),
    ],
    ids=("T1", "P1", "P2"),
    indirect=True,
)
# A program's own filter sees the engine's calls, whose numbers are those of 64 bits.
WITHOUT = ("filter",)
FLOATS = {
    "i386_floats": ("kept", "shown", "changed", "moved", "dropped"),
    "i386_computing": ("computing", "jumps", "forgiven"),
}
PROGRAMS = (*CHECKS, "guest_users", *FLOATS)


def table() -> list[tuple[str, ...]]:
    return [match.groups() for match in ENTRY.finditer(TABLE.read_text())]


def header() -> dict[str, int]:
    path = next((path for path in HEADERS if path.is_file()), None)
    if path is None:
        pytest.skip("needs the kernel's headers for x86-64: apt-get install linux-libc-dev")
    return {name: int(number) for name, number in re.findall(r"__NR_(\w+) (\d+)", path.read_text())}


def test_every_line_of_the_table_is_read_and_in_its_order() -> None:
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("I386(")]
    numbers = [int(entry[0]) for entry in table()]
    assert len(lines) == len(numbers) > 160
    assert numbers == sorted(set(numbers))


def test_numbers_are_the_kernels() -> None:
    known = header()
    compared = [(name, int(number)) for number, name, *_ in table() if name in known]
    assert len(compared) > 150
    assert compared == [(name, known[name]) for name, _ in compared]


def test_every_call_of_i386_is_known() -> None:
    known = set(header())
    named = {entry[1] for entry in table()}
    assert len(known) > 400
    assert known - named - set(WITHOUT_PATHS) - set(ALONE) == set()
    assert not named & set(ALONE)


def test_every_call_that_takes_a_path_is_in_the_table() -> None:
    """Each call of x86-64 that does is somebody's twin."""
    twins = {entry[2] for entry in table()}
    # socketcall(2) has it: trap/i386_sockets.c
    assert {entry[0] for entry in entries()} - twins == {"accept"}
    always = {entry[2] for entry in table() if "ALWAYS" in entry[3]}
    assert {entry[0] for entry in entries()} - always == {"accept"}


@pytest.fixture(scope="session")
def i386_programs() -> Iterator[tuple[Path, ...]]:
    """The programs that ask what a guest may expect, of 32 bits."""
    compiler = need_i386()
    with tempfile.TemporaryDirectory(prefix="udocker-i386-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        for program in PROGRAMS:
            stack = "-Wl,-z,execstack" if program == "guest_stack" else "-Wl,-z,noexecstack"
            source = NATIVE / "tests" / f"{program}.c"
            command = [*compiler, *WARNINGS, "-static", "-pthread", stack, "-o", directory / program, source]
            subprocess.run(command, check=True)
        yield tuple(directory / program for program in PROGRAMS)


@pytest.fixture
def narrow(guest: Guest, i386_programs: tuple[Path, ...]) -> Guest:
    """A guest whose checks are of 32 bits."""
    for program in i386_programs:
        shutil.copy(program, guest.root / "bin")
        (guest.root / "bin" / program.name).chmod(0o755)
    return guest


@pytest.mark.parametrize(
    ("program", "name"),
    [(program, name) for program in CHECKS for name in CHECKS[program] if name not in WITHOUT],
)
@as_i386
def test_a_program_gets_from_its_calls_what_it_may_expect(narrow: Guest, program: str, name: str) -> None:
    result = narrow(program, name)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("program", "name"), [(program, name) for program in FLOATS for name in FLOATS[program]]
)
@pytest.mark.parametrize("guest", (*TRIED, "patch"), indirect=True)
def test_a_handler_finds_and_leaves_the_floating_point_state_as_the_kernel_has_it(
    narrow: Guest, i386_programs: tuple[Path, ...], program: str, name: str
) -> None:
    (native,) = (check for check in i386_programs if check.name == program)
    for result in (run([str(native), name]), narrow(program, name)):
        assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@as_i386
def test_every_call_says_of_a_wrong_path_what_the_kernel_says(
    narrow: Guest, i386_programs: tuple[Path, ...]
) -> None:
    errors = narrow("guest_errors")
    (program,) = (check for check in i386_programs if check.name == "guest_errors")
    assert errors.stdout.count(b" EFAULT\n") > 100
    assert (errors.returncode, errors.stdout.decode()) == (0, run([str(program)]).stdout.decode())


@as_i386
def test_odd_paths_are_to_every_call_what_they_are_to_the_kernel(
    narrow: Guest, i386_programs: tuple[Path, ...]
) -> None:
    without = ("without-openat2",) if "openat2" in narrow.options else ()
    (program,) = (check for check in i386_programs if check.name == "guest_paths")
    shown, by_kernel = narrow("guest_paths", *without), run([str(program), *without])
    assert shown.stdout.count(b"up rmdir(name): done\n") == 45
    assert (shown.returncode, shown.stderr) == (by_kernel.returncode, by_kernel.stderr) == (0, b"")
    assert shown.stdout.decode() == by_kernel.stdout.decode()


@pytest.mark.parametrize("name", USERS)
@as_root
def test_root_gets_from_its_calls_what_it_may_expect(narrow: Guest, name: str) -> None:
    result = narrow("guest_users", name)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.mark.parametrize("guest", VARIANTS, indirect=True)
def test_a_64_bit_program_has_no_calls_of_32_bit_numbers_that_the_engine_serves(guest: Guest) -> None:
    compiler = need_command("gcc", "gcc libc6-dev")
    source = NATIVE / "tests/i386_gate.c"
    subprocess.run([compiler, *WARNINGS, "-static", "-o", guest.root / "bin/gate", source], check=True)
    result = guest("gate")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"-38 " * 8, b"")


@as_i386
def test_programs_of_both_kinds_start_each_other(guest: Guest) -> None:
    source = NATIVE / "tests/i386_turns.c"
    gcc = need_command("gcc", "gcc libc6-dev")
    for name, command in (("wide", (gcc,)), ("narrow", need_i386())):
        target = guest.root / "bin" / name
        subprocess.run([*command, *WARNINGS, "-static", "-o", target, source], check=True)
    result = guest("narrow", "3", "x", "last one")
    lines = b"4 first last one\n8 seen last one\n4 seen last one\n8 seen last one\n"
    assert (result.returncode, result.stdout, result.stderr) == (42, lines, b"")
