"""The trap engine's program, by itself: what its guests see and do, as an ordinary user."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.roots import identity_options, make_root
from tests.services.needs import need_command

NATIVE = Path(__file__).resolve().parents[2] / "udocker" / "native"
WARNINGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror")
# No C library, one fixed address, and nothing that needs a table filled in at the start.
ENGINE = (
    *("-ffreestanding", "-fno-stack-protector", "-fcf-protection=none", "-mgeneral-regs-only", "-fPIE"),
    *("-fvisibility=hidden", "-fno-asynchronous-unwind-tables", "-nostdlib", "-static", "-no-pie"),
    "-Wl,--build-id=none",
)
VARIANTS = {
    "trap": (),
    "patch": ("--patch",),
    "old-kernel": ("--without", "openat2"),
    "no-execmem": ("--patch", "--without", "execmem"),
    "no-mm-map": ("--without", "prctl-mm-map"),
    "trace": ("--trace",),
    "trace-patch": ("--trace", "--patch"),
    "trace-all": ("--trace-all",),
}
# Directories of this name below each other have a path that is longer than PATH_MAX.
DEEP_NAME, DEPTH = "d" * 200, 30
CHECKS = {
    "guest_check": (
        *("pointers", "buffers", "masks", "sigsys", "children", "threads", "sockets", "nameless"),
        *("guarded", "heap", "descriptors", "scripts"),
    ),
    "guest_signals": (
        *("jumps", "alternate", "waiting", "every-signal", "restart", "filter"),
        *("room", "cancel", "shared-memory", "starting-threads"),
    ),
    "guest_registers": ("registers",),
    "guest_actions": ("own", "shared", "beside", "killed", "once"),
    "guest_processors": ("chosen", "children", "bound-threads", "policy"),
    "guest_stack": ("executable-stack",),
    "guest_errors": (),
    "guest_paths": (),
}


@dataclass(frozen=True)
class Programs:
    """The engine, and the programs that ask what a guest may expect."""

    engine: Path
    checks: tuple[Path, ...]


def run(argv: list[str], pass_fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[bytes]:
    """As the ordinary user, on the host."""
    return subprocess.run(
        argv,
        cwd="/",
        env={"PATH": "/bin"},
        capture_output=True,
        check=False,
        timeout=120,
        pass_fds=pass_fds,
        **identity_options(),
    )


@dataclass(frozen=True)
class Guest:
    """A container's root, and the engine over it."""

    programs: Programs
    options: tuple[str, ...]
    directory: Path

    @property
    def root(self) -> Path:
        return self.directory / "root"

    def __call__(
        self, *command: str, binds: tuple[str, ...] = (), pass_fds: tuple[int, ...] = ()
    ) -> subprocess.CompletedProcess[bytes]:
        system = ("--bind", "/proc", "/proc", "--bind", "/dev", "/dev")
        root = ("--root", str(self.root))
        return run(
            [str(self.programs.engine), *root, *system, *binds, *self.options, "--", *command], pass_fds
        )

    def output(self, script: str, binds: tuple[str, ...] = ()) -> str:
        result = self("sh", "-c", script, binds=binds)
        assert (result.returncode, result.stderr) == (0, b""), result
        return result.stdout.decode()


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    if platform.machine() != "x86_64":
        pytest.skip("the trap engine is for x86-64")
    compiler = need_command("gcc", "gcc libc6-dev")
    directory = Path(tempfile.mkdtemp(prefix="udocker-trap-"))
    directory.chmod(0o755)
    made = Programs(directory / "udocker-trap", tuple(directory / name for name in CHECKS))
    script = f"-Wl,-T,{NATIVE / 'trap/trap.ld'}"
    parts = ("net", "path", "root", "trap", "tracer")
    sources = [source for part in parts for source in (NATIVE / part).glob("*.c")]
    subprocess.run([compiler, *WARNINGS, *ENGINE, script, "-o", made.engine, *sources], check=True)
    for check in made.checks:
        guest = NATIVE / "tests" / f"{check.name}.c"
        stack = "-Wl,-z,execstack" if check.name == "guest_stack" else "-Wl,-z,noexecstack"
        linked = ("-static", "-pthread", stack)
        subprocess.run([compiler, *WARNINGS, *linked, "-o", check, guest], check=True)
    yield made
    shutil.rmtree(directory)


@pytest.fixture(params=VARIANTS)
def guest(request: pytest.FixtureRequest, programs: Programs) -> Iterator[Guest]:
    directory = Path(tempfile.mkdtemp(prefix="udocker-guest-")).resolve()
    made = Guest(programs, VARIANTS.get(request.param, request.param), directory)
    make_root(made.root)
    for check in programs.checks:
        shutil.copy(check, made.root / "bin")
    for applet in ("chmod", "find", "ln", "mkdir", "mv", "ps", "readlink", "sort", "stat", "wc"):
        (made.root / "bin" / applet).symlink_to("busybox")
    subprocess.run(["chmod", "-R", "a+rwX", directory], check=True)
    yield made
    shutil.rmtree(directory)


@pytest.mark.parametrize(
    ("program", "name"), [(program, name) for program in CHECKS for name in CHECKS[program]]
)
def test_a_program_gets_from_its_calls_what_it_may_expect(guest: Guest, program: str, name: str) -> None:
    result = guest(program, name)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_every_call_says_of_a_wrong_path_what_the_kernel_says(guest: Guest) -> None:
    errors = guest("guest_errors")
    (program,) = (check for check in guest.programs.checks if check.name == "guest_errors")
    assert errors.stdout.count(b" EFAULT\n") > 100
    assert (errors.returncode, errors.stdout.decode()) == (0, run([str(program)]).stdout.decode())


def test_odd_paths_are_to_every_call_what_they_are_to_the_kernel(guest: Guest) -> None:
    """Names that are "." or "..", directories too deep to have a name, restrictions of openat2(2)."""
    without = ("without-openat2",) if "openat2" in guest.options else ()
    shown = guest("guest_paths", *without)
    (program,) = (check for check in guest.programs.checks if check.name == "guest_paths")
    assert shown.stdout.count(b"up rmdir(name): done\n") == 45
    by_kernel = run([str(program), *without])
    assert (shown.returncode, shown.stderr) == (by_kernel.returncode, by_kernel.stderr) == (0, b"")
    assert shown.stdout.decode() == by_kernel.stdout.decode()


def deep_directory(top: Path) -> int:
    """A descriptor of a directory below `top` whose path is longer than PATH_MAX."""
    handle = os.open(top, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir(DEEP_NAME, dir_fd=handle)
        os.chmod(DEEP_NAME, 0o777, dir_fd=handle)
        above, handle = handle, os.open(DEEP_NAME, os.O_RDONLY, dir_fd=handle)
        os.close(above)
    return handle


@pytest.mark.parametrize("bind", ["--bind", "--bind-ro"])
def test_a_directory_too_deep_for_a_name_is_as_read_only_as_its_bind(guest: Guest, bind: str) -> None:
    data = guest.directory / "data"
    data.mkdir()
    handle = deep_directory(data)
    for change in ("mkdir FD/a", "cd FD && mkdir b", "cd FD && cd -P .. && echo >c", "chmod 0 FD"):
        script = change.replace("FD", f"/proc/self/fd/{handle}")
        result = guest("sh", "-c", script, binds=(bind, str(data), "/data"), pass_fds=(handle,))
        assert (b"Read-only file system" in result.stderr) == (bind == "--bind-ro"), result
        assert (result.returncode == 0) == (bind == "--bind" and "chmod" not in change), result
    assert len(os.listdir(handle)) == (2 if bind == "--bind" else 0)
    os.close(handle)


@pytest.mark.parametrize(("inside", "expected"), [(True, b"seen\n" * 3), (False, b"")])
def test_a_directory_too_deep_for_a_name_leads_nowhere_outside(
    guest: Guest, inside: bool, expected: bytes
) -> None:
    """One that was open before the container began."""
    top = guest.root / "deep" if inside else guest.directory / "deep"
    top.mkdir()
    (top / "secret").write_text("seen\n")
    (guest.directory / "secret").write_text("secret\n")
    handle = deep_directory(top)
    os.link(top / "secret", "../secret", dst_dir_fd=handle)
    script = (
        f"fd=/proc/self/fd/{handle} up={'/'.join(['..'] * DEPTH)} top={guest.directory};"
        " for way in ../secret $up/secret $up/../deep/secret $up/../../secret $up/../../..$top/secret;"
        " do cat $fd/$way; done; cd $fd && cat $up/../secret"
    )
    result = guest("sh", "-c", script, pass_fds=(handle,))
    os.close(handle)
    assert result.stdout == expected
    assert result.stderr.count(b"No such file") == (3 if inside else 6)


def test_an_address_of_a_socket_is_the_containers(guest: Guest) -> None:
    far = guest.directory / ("far" * 30)
    far.mkdir()
    far.chmod(0o777)
    result = guest("guest_check", "addresses", binds=("--bind", str(far), "/bound"))
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_exit_status_is_the_programs(guest: Guest, status: int) -> None:
    assert guest("sh", "-c", f"exit {status}").returncode == status


@pytest.mark.parametrize(
    ("program", "status"), [("nothing", 127), ("/no/thing", 127), ("/etc/passwd", 126), ("/etc", 126)]
)
def test_a_program_that_does_not_start_is_one_line(guest: Guest, program: str, status: int) -> None:
    result = guest(program)
    assert result.returncode == status
    assert result.stderr.startswith(f"udocker: run: {program}: ".encode())
    assert result.stderr.count(b"\n") == 1


def test_an_x32_program_is_one_line_for_whoever_starts_it(guest: Guest) -> None:
    program = guest.root / "bin/small"
    program.write_bytes(b"\x7fELF\x01\x01\x01" + bytes(9) + b"\x02\x00\x3e\x00" + bytes(64))
    program.chmod(0o755)
    for command in (["small"], ["sh", "-c", "small; exit $?"]):
        result = guest(*command)
        assert (result.returncode, result.stdout) == (126, b"")
        assert result.stderr.startswith(b"udocker: run: /bin/small: a program of the x32 kind")
        assert result.stderr.count(b"\n") == 1


def test_processes_of_the_container_know_each_others_programs(guest: Guest) -> None:
    program = guest.root / "bin/sleep"
    program.unlink()
    shutil.copy(guest.root / "bin/busybox", program)
    shown = guest.output(
        "/bin/sleep 60 & until grep -q sleep /proc/$!/comm; do true; done; readlink /proc/$!/exe;"
        " cd /proc/$!; readlink exe; grep -o ' /.*' maps | sort -u; kill $!;"
        " grep -o ' /.*' /proc/self/maps | sort -u"
    )
    assert shown.split() == ["/bin/sleep"] * 3 + ["/bin/busybox"]


@pytest.mark.parametrize(
    "limit", ["-s unlimited", "-s 256", "-n 16", "-v 300000", "-c 0", "-u 20000", "-f 1000"]
)
def test_limits_are_kept_and_do_not_matter(guest: Guest, limit: str) -> None:
    letter = limit.split()[0]
    shown = guest.output(f"ulimit {limit}; ulimit {letter}; sh -c 'ulimit {letter}; true; ls /bin/sh'")
    assert shown.split() == [limit.split()[1]] * 2 + ["/bin/sh"]


def test_scripts_run_by_their_interpreter_of_the_container(guest: Guest) -> None:
    script = guest.root / "bin/script"
    script.write_text('#!/bin/sh -e\necho "$0" "$1"\n')
    script.chmod(0o755)
    assert guest("script", "a b").stdout == b"/bin/script a b\n"
    script.write_text("#!/no/interpreter\n")
    assert guest("script").returncode == 127


def test_the_process_is_the_guests_program(guest: Guest) -> None:
    shown = guest.output(
        "cd /etc; readlink /proc/self/exe; readlink /proc/self/cwd; readlink /proc/self/root; "
        "cat /proc/self/comm; cat /proc/$$/cmdline | head -c 8; echo; pwd"
    )
    *lines, arguments, directory = shown.replace("\0", " ").splitlines()
    assert [*lines, directory] == ["/bin/busybox", "/etc", "/", "cat", "/etc"]
    # Where the kernel cannot be told, ps(1) shows the engine's own arguments before the program's.
    assert (arguments == "sh -c cd") == ("prctl-mm-map" not in guest.options)


def test_an_engine_runs_in_a_user_namespace(guest: Guest) -> None:
    launcher = guest.programs.engine.parent / "udocker-userns"
    sources = sorted((NATIVE / "userns").glob("*.c"))
    subprocess.run(["gcc", *WARNINGS, "-static", "-o", launcher, *sources], check=True)
    if run([str(launcher), "--probe"]).returncode:
        pytest.skip("needs user namespaces without privileges: sysctl user.max_user_namespaces")
    inner = guest.root / "inner"
    make_root(inner)
    (inner / "etc/who").write_text("inner\n")
    shutil.copy(guest.programs.engine, guest.root / "bin/udocker-trap")
    subprocess.run(["chmod", "-R", "a+rwX", guest.directory], check=True)
    outer = [str(launcher), "--root", str(guest.root), "--bind", "/proc", "/proc", "--"]
    engine = ["/bin/udocker-trap", "--root", "/inner", "--bind", "/proc", "/proc", *guest.options, "--"]
    result = run([*outer, *engine, "sh", "-c", "cat /etc/who; ls /inner; readlink /proc/self/exe"])
    assert (result.returncode, result.stdout) == (0, b"inner\n/bin/busybox\n")
    assert b"/inner: No such file" in result.stderr


@pytest.mark.parametrize(
    "path",
    [
        "SECRET",
        "/tmp/../..SECRET",
        "/absolute",
        "/relative",
        "/proc/self/rootSECRET",
        "/proc/self/cwd/../..SECRET",
        "/proc/self/fd/9/../..SECRET",
        "//etc/./../../..SECRET",
    ],
)
def test_no_path_leads_out_of_the_root(guest: Guest, path: str) -> None:
    secret = guest.directory / "secret"
    secret.write_text("seen")
    (guest.root / "absolute").symlink_to(secret)
    (guest.root / "relative").symlink_to(Path("../../../../../../../..") / str(secret)[1:])
    place = path.replace("SECRET", str(secret))
    result = guest("sh", "-c", 'exec 9</; cat "$1"; echo x >"$1"; ln "$1" /tmp/link', "sh", place)
    assert b"seen" not in result.stdout
    assert secret.read_text() == "seen"
    assert not (guest.root / "tmp/link").exists()


def test_binds_nest_and_appear_in_listings(guest: Guest) -> None:
    for name in ("outer", "inner"):
        (guest.directory / name).mkdir(mode=0o777)
        (guest.directory / name / name).write_text(f"{name}\n")
        (guest.directory / name).chmod(0o777)
    outer, inner = str(guest.directory / "outer"), str(guest.directory / "inner")
    (guest.root / "way").symlink_to("/data")
    binds = ("--bind", outer, "/data", "--bind", inner, "/way/in", "--bind", f"{inner}/inner", "/etc/one")
    shown = guest.output("cat /data/outer /data/in/inner /etc/one; cd /data/in/..; pwd; ls /data", binds)
    assert shown.split() == ["outer", "inner", "inner", "/data", "in", "outer"]


def test_read_only_binds_refuse_every_change(guest: Guest) -> None:
    data = guest.directory / "data"
    (data / "directory").mkdir(parents=True)
    (data / "file").write_text("old")
    subprocess.run(["chmod", "-R", "a+rwX", data], check=True)
    before = sorted(str(path) for path in data.rglob("*"))
    changes = [
        "echo new >/data/file", "echo new >>/data/file", "echo new >/data/other", "touch /data/file",
        "mkdir /data/made", "rm -f /data/file", "mv /data/file /data/moved", "mv /etc/passwd /data/in",
        "ln -s x /data/link", "chmod 600 /data/file", "cd /data && echo new >file", "cd /data && mkdir made",
        "cd /data/directory && touch ../file", "exec 9</data && echo new >/proc/self/fd/9/file",
    ]  # fmt: skip
    for change in changes:
        result = guest("sh", "-c", change, binds=("--bind-ro", str(data), "/data"))
        assert result.returncode != 0, change
        assert b"Read-only file system" in result.stderr, change
    assert sorted(str(path) for path in data.rglob("*")) == before
    assert (data / "file").read_text() == "old"
    assert guest.output("cat /data/file", ("--bind-ro", str(data), "/data")) == "old"


def test_what_is_written_lies_in_the_root(guest: Guest) -> None:
    guest.output("mkdir -p /tmp/deep/er; echo text >/tmp/deep/er/file; cd /tmp/deep; mv er ../moved")
    assert (guest.root / "tmp/moved/file").read_text() == "text\n"


def test_names_are_bytes(guest: Guest) -> None:
    name = os.fsdecode(b"\xff \n'")
    result = guest("sh", "-c", 'echo text >"/tmp/$1"; cat "/tmp/$1"', "sh", name)
    assert (result.stdout, result.stderr) == (b"text\n", b"")
    assert (guest.root / "tmp" / name).read_text() == "text\n"
