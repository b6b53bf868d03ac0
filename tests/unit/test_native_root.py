"""Root emulated: the rules by themselves, and the trap engine's guests as root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.roots import identity_options, make_root
from tests.services.needs import need_command
from tests.unit.test_native_path import SANITIZE
from tests.unit.test_native_trap import CHECKS, WARNINGS, Guest, guest, programs, run

__all__ = ["guest", "programs"]  # fixtures

NATIVE = Path(__file__).resolve().parents[2] / "udocker" / "native"
AS_ROOT = {
    "root": ("--uid", "0", "--gid", "0"),
    "patch": ("--uid", "0", "--gid", "0", "--patch"),
    "old-kernel": ("--uid", "0", "--gid", "0", "--without", "openat2"),
    "trace": ("--uid", "0", "--gid", "0", "--trace"),
    "trace-patch": ("--uid", "0", "--gid", "0", "--trace", "--patch"),
    "trace-all": ("--uid", "0", "--gid", "0", "--trace-all"),
    "somebody": ("--uid", "1234", "--gid", "2345", "--patch"),
}
# Checks of guest_users; the others are what these start.
USERS = ("drop", "shared", "spawn", "threads", "attributes", "files", "system", "poor", "credentials")
as_root = pytest.mark.parametrize("guest", AS_ROOT.values(), ids=AS_ROOT, indirect=True)


def test_the_rules_are_those_of_the_kernel() -> None:
    compiler = need_command("gcc", "gcc")
    with tempfile.TemporaryDirectory(prefix="udocker-root-") as directory:
        _check(compiler, Path(directory))


def _check(compiler: str, directory: Path) -> None:
    program = directory / "root_check"
    sources = [NATIVE / "tests/root_check.c", *(NATIVE / "root").glob("*.c"), NATIVE / "path/proc.c"]
    flags = ("-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", *SANITIZE)
    subprocess.run([compiler, *flags, "-o", program, *sources], check=True)
    directory.chmod(0o777)
    result = subprocess.run([program], cwd=directory, capture_output=True, check=False, **identity_options())
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@as_root
@pytest.mark.parametrize(
    ("program", "name"), [(program, name) for program in CHECKS for name in CHECKS[program]]
)
def test_a_program_gets_from_its_calls_what_it_may_expect(guest: Guest, program: str, name: str) -> None:
    result = guest(program, name)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.fixture(scope="session")
def users() -> Iterator[Path]:
    """The program guest_users."""
    compiler = need_command("gcc", "gcc libc6-dev")
    with tempfile.TemporaryDirectory(prefix="udocker-root-") as directory:
        program = Path(directory) / "guest_users"
        source = NATIVE / "tests/guest_users.c"
        subprocess.run([compiler, *WARNINGS, "-static", "-pthread", "-o", program, source], check=True)
        yield program


@pytest.mark.parametrize("name", USERS)
@pytest.mark.parametrize("guest", list(AS_ROOT.values())[:-1], ids=list(AS_ROOT)[:-1], indirect=True)
def test_root_gets_from_its_calls_what_it_may_expect(guest: Guest, users: Path, name: str) -> None:
    shutil.copy(users, guest.root / "bin")
    (guest.root / "bin" / users.name).chmod(0o755)
    result = guest(users.name, name)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.mark.parametrize("asked", [("0", "0"), ("5", "6")])
@as_root
def test_an_engine_in_a_container_has_users_of_its_own(guest: Guest, asked: tuple[str, str]) -> None:
    inner = guest.root / "inner"
    make_root(inner)
    (inner / "bin/stat").symlink_to("busybox")
    shutil.copy(guest.programs.engine, guest.root / "bin/udocker-trap")
    subprocess.run(["chmod", "-R", "a+rwX", inner], check=True)
    script = "id -u; id -g; echo x >/tmp/file; stat -c %u:%g /tmp/file"
    result = guest(
        *("udocker-trap", "--root", "/inner", "--uid", asked[0], "--gid", asked[1], "--", "sh", "-c", script),
        binds=("--bind", "/proc", "/inner/proc"),
    )
    expected = f"{asked[0]}\n{asked[1]}\n{':'.join(asked)}\n".encode()
    assert (result.returncode, result.stdout, result.stderr) == (0, expected, b"")


@pytest.mark.parametrize("guest", [AS_ROOT["somebody"]], ids=["somebody"], indirect=True)
def test_a_set_user_id_program_runs_as_its_owner(guest: Guest, users: Path) -> None:
    program = guest.root / "bin" / users.name
    shutil.copy(users, program)
    program.chmod(0o755)
    os.setxattr(program, "user.udocker.owner", b"0:5:106755:0")
    result = guest(users.name, "lent")
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@as_root
def test_every_call_says_of_a_wrong_path_what_the_kernel_says(guest: Guest) -> None:
    errors = guest("guest_errors")
    (program,) = (check for check in guest.programs.checks if check.name == "guest_errors")
    assert errors.stdout.count(b" EFAULT\n") > 100
    assert (errors.returncode, errors.stdout.decode()) == (0, run([str(program)]).stdout.decode())


@as_root
def test_odd_paths_are_to_every_call_what_they_are_to_the_kernel(guest: Guest) -> None:
    """But for what is closed to others, where root may enter, and for another root, which he may have."""
    without = ("without-openat2",) if "openat2" in guest.options else ()
    (program,) = (check for check in guest.programs.checks if check.name == "guest_paths")
    shown, expected = guest("guest_paths", *without), run([str(program), *without])
    assert (shown.returncode, shown.stderr) == (expected.returncode, expected.stderr) == (0, b"")
    answers, by_kernel = (
        [line for line in result.stdout.decode().splitlines() if not re.match("roots|.*closed", line)]
        for result in (shown, expected)
    )
    assert len(answers) > 1000
    assert answers == by_kernel
