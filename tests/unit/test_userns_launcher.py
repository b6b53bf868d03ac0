"""The launcher of engine R by itself: its command line, its refusals, and itself started by root."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.roots import identity_options, is_static, make_root, remove
from tests.services.needs import need_command, need_root
from udocker.engine.binaries import locate
from udocker.engine.userns import PROGRAM, UsernsEngine
from udocker.model.mode import ExecutionMode

Answer = tuple[int, str, str]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the ordinary user can reach, with a root and a copy of the launcher."""
    support = UsernsEngine().check(ExecutionMode.R1)
    if not support.available:
        pytest.skip(f"this host does not support user namespaces: {support.reason}")
    directory = Path(tempfile.mkdtemp(prefix="udocker-launcher-"))
    directory.chmod(0o755)
    make_root(directory / "root")
    shutil.copy(locate(PROGRAM), directory / PROGRAM)
    (directory / PROGRAM).chmod(0o755)
    yield directory
    remove(directory)


def call(place: Path, *arguments: str, before: tuple[str, ...] = (), **options: object) -> Answer:
    argv = [*before, str(place / PROGRAM), *arguments]
    identity = options or identity_options()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, **identity)  # type: ignore[call-overload]
    return done.returncode, done.stdout, done.stderr


def test_probe_succeeds_without_a_word(place: Path) -> None:
    assert call(place, "--probe") == (0, "", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--root"],
        ["--root", "relative", "--", "true"],
        ["--root", "/"],
        ["--root", "/", "--"],
        ["--root", "/", "--uid", "-1", "--", "true"],
        ["--root", "/", "--uid", "4294967295", "--", "true"],
        ["--root", "/", "--gid", "1x", "--", "true"],
        ["--root", "/", "--gid", "", "--", "true"],
        ["--root", "/", "--bind", "/x", "--"],
        ["--root", "/", "--bind", "x", "/y", "--", "true"],
        ["--root", "/", "--bind", "/x", "y", "--", "true"],
        ["--root", "/", "--without", "execve", "--", "true"],
        ["--what", "/", "--", "true"],
    ],
)
def test_bad_command_line_is_125_with_one_line(place: Path, arguments: list[str]) -> None:
    status, out, err = call(place, *arguments)
    assert (status, out) == (125, "")
    assert err.startswith("udocker: run: ")
    assert err.count("\n") == 1


def test_missing_root_is_named(place: Path) -> None:
    status, _, err = call(place, "--root", f"{place}/none", "--", "true")
    assert status == 125
    assert err.startswith(f"udocker: run: {place}/none: No such file or directory")


def test_root_that_is_a_file_is_named(place: Path) -> None:
    status, _, err = call(place, "--root", f"{place}/root/etc/passwd", "--", "true")
    assert status == 125
    assert "Not a directory" in err


def test_unwritable_root_without_proc_is_told_in_one_line(place: Path) -> None:
    need_root()  # the root belongs to root and the launcher runs as somebody else
    status, _, err = call(place, "--root", f"{place}/root", "--bind", "/proc", "/proc", "--", "true")
    assert status == 125
    assert err == (
        "udocker: run: /proc: Permission denied "
        "(it cannot be created: its directory in the container is not writable for this user)\n"
    )


def test_message_stays_one_line_whatever_the_name(place: Path) -> None:
    status, _, err = call(place, "--root", f"{place}/root", "--", "a\nb\x1b[2J")
    assert status == 127
    assert err.startswith("udocker: run: a\\012b\\033[2J: not found")
    assert err.count("\n") == 1


def test_a_process_that_has_ended_is_joined_only_where_there_is_no_root_instead(place: Path) -> None:
    words = ["--join", "999999999:1", "--", "/bin/echo", "hi"]
    assert call(place, "--root", f"{place}/root", *words) == (0, "hi\n", "")
    status, out, err = call(place, *words)
    assert (status, out) == (125, "")
    assert "its program has ended meanwhile" in err


def test_later_calls_may_be_missing(place: Path) -> None:
    without = [word for name in ("openat2", "mount_setattr", "pivot_root") for word in ("--without", name)]
    assert call(place, *without, "--root", f"{place}/root", "--", "/bin/echo", "hi") == (0, "hi\n", "")


def test_launcher_started_by_root_works(place: Path) -> None:
    need_root()
    arguments = ["--root", f"{place}/root", "--bind", "/proc", "/proc", "--uid", "5", "--gid", "6"]
    script = "echo $(id -u) $(id -g); grep CapEff /proc/self/status"
    status, out, err = call(place, *arguments, "--", "/bin/sh", "-c", script, user=0)
    assert (status, out, err) == (0, "5 6\nCapEff:\t0000000000000000\n", "")


def test_root_in_a_root_owned_by_root_creates_what_is_missing(place: Path) -> None:
    need_root()
    arguments = ["--root", f"{place}/root", "--uid", "0", "--gid", "0", "--bind", str(place), "/a/b"]
    assert call(place, *arguments, "--workdir", "/c/d", "--", "/bin/pwd", user=0) == (0, "/c/d\n", "")


def test_container_in_a_container_works(place: Path) -> None:
    inner = f"{place}/{PROGRAM} --root {place}/root --uid 7 -- /bin/id -u"
    binds = ["--bind", "/proc", "/proc", "--bind", str(place), "/tmp", "--bind", "/dev", "/etc"]
    inner = inner.replace(str(place), "/tmp")
    for name in ("proc", "dev"):
        (place / "root" / name).mkdir()
    status, out, err = call(place, "--root", f"{place}/root", *binds, "--", "/bin/sh", "-c", inner)
    assert (status, out, err) == (0, "7\n", "")


def refused(place: Path, *setting: str) -> Answer:
    """The probe in a user namespace that allows ``setting`` for those inside."""
    unshare = need_command("unshare", "util-linux")
    script = f'echo {setting[1]} > /proc/sys/user/{setting[0]}; exec "$0" "$@"'
    return call(place, "--probe", before=(unshare, "--user", "--map-root-user", "sh", "-c", script))


def test_namespaces_that_are_switched_off_are_named_with_the_setting(place: Path) -> None:
    assert refused(place, "max_user_namespaces", "0") == (
        125,
        "",
        "udocker: run: user namespace: switched off: /proc/sys/user/max_user_namespaces is 0 "
        "(ask the administrator to raise user.max_user_namespaces)\n",
    )


def test_exhausted_namespaces_are_named(place: Path) -> None:
    status, _, err = refused(place, "max_mnt_namespaces", "0")
    assert status == 125
    assert "too many of them" in err


def test_namespaces_forbidden_by_surroundings_are_named(place: Path) -> None:
    need_root()
    # A process in a chroot may not make user namespaces: user_namespaces(7).
    shutil.copy(place / PROGRAM, place / "root" / PROGRAM)
    chroot = need_command("chroot", "coreutils")
    argv = [chroot, "--userspec=65534:65534", str(place / "root"), f"/{PROGRAM}", "--probe"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert done.stderr.startswith("udocker: run: user namespace: unshare: Operation not permitted (")


def test_launcher_is_static(place: Path) -> None:
    assert is_static(place / PROGRAM)
