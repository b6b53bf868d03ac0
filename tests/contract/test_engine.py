"""What every engine does alike, as an ordinary user."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import select
import signal
import struct
import subprocess
import termios
from dataclasses import replace
from pathlib import Path

import pytest

from tests.contract.roots import Stage, caller, host_facts
from udocker.model.mount import Mount


def sh(stage: Stage, script: str, **spec: object) -> str:
    return stage.output("sh", "-c", script, **spec)


# ---- files ----


def test_program_sees_the_containers_files(stage: Stage) -> None:
    stage.file("ROOT/opt/greeting", "hello\n")
    assert stage.output("cat", "/opt/greeting") == "hello\n"


def test_files_of_the_host_outside_the_root_are_not_visible(stage: Stage) -> None:
    secret = stage.file("secret")
    result = stage.run("cat", str(secret))
    assert result.status == 1
    assert b"No such file" in result.err


def test_dot_dot_does_not_lead_above_the_root(stage: Stage) -> None:
    stage.file("ROOT/only-here", "")
    assert "only-here" in sh(stage, "cd /; cd ../../..; ls")


def test_files_written_inside_belong_to_the_caller_outside(stage: Stage) -> None:
    sh(stage, "echo data > /tmp/new")
    made = stage.root / "tmp/new"
    assert made.read_text() == "data\n"
    assert (made.stat().st_uid, made.stat().st_gid) == caller()


def test_proc_dev_and_sys_of_the_host_appear_in_a_root_that_lacks_them(stage: Stage) -> None:
    assert sh(stage, "cat /proc/self/comm; echo x > /dev/null; ls -d /sys/kernel") == "cat\n/sys/kernel\n"


def test_absolute_symlinks_stay_in_the_container(stage: Stage) -> None:
    (stage.root / "link").symlink_to("/etc/passwd")
    assert "alice" in stage.output("cat", "/link")


def test_name_resolution_files_are_those_of_the_host(stage: Stage) -> None:
    assert stage.output("cat", "/etc/hosts") == Path("/etc/hosts").read_text()


def test_system_files_can_be_left_out(stage: Stage) -> None:
    stage.file("ROOT/etc/hosts", "mine\n")
    assert stage.output("cat", "/etc/hosts", system_mounts=False) == "mine\n"


def test_a_read_only_container_is_not_changed_but_for_its_binds(stage: Stage) -> None:
    mounts = (Mount(str(stage.host), "/tmp"),)
    result = stage.run(
        "sh", "-c", "echo x > /tmp/new; echo x > /new", mounts=mounts, read_only=True, system_mounts=False
    )
    assert b"/new: Read-only file system" in result.err
    assert not (stage.root / "new").exists()
    assert (stage.host / "new").read_text() == "x\n"


# ---- the program ----


@pytest.mark.parametrize("status", [0, 1, 42, 125, 255])
def test_exit_status_is_the_programs(stage: Stage, status: int) -> None:
    assert stage.run("sh", "-c", f"exit {status}").status == status


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "", "/etc/passwd/x"])
def test_missing_program_is_127(stage: Stage, program: str) -> None:
    result = stage.run(program)
    assert result.status == 127
    assert result.err.startswith(f"udocker: run: {program}: ".encode())
    assert result.err.count(b"\n") == 1


@pytest.mark.parametrize(
    ("program", "status", "hint"),
    [
        ("/no/such", 127, "is the path right, and the program in the image?"),
        ("nosuch", 127, "not in any directory of PATH"),
        ("/bin/busybox/x", 127, "a part of its path is a file"),
        ("/loop", 126, "its path goes round in a circle of symbolic links"),
        ("/" + "x" * 300, 126, "give a shorter path"),
        ("/etc", 126, "no x permission, a directory, or a file system mounted noexec"),
    ],
)
def test_a_program_that_cannot_start_is_told_with_a_hint(
    stage: Stage, program: str, status: int, hint: str
) -> None:
    (stage.root / "loop").symlink_to("loop")
    result = stage.run(program)
    assert (result.status, result.out) == (status, b"")
    (line,) = os.fsdecode(result.err).splitlines()
    assert line.startswith(f"udocker: run: {program}: ")
    assert line.endswith(f" ({hint})")


@pytest.mark.parametrize("program", ["/etc/passwd", "/etc", "/opt/empty"])
def test_program_that_cannot_be_executed_is_126(stage: Stage, program: str) -> None:
    stage.file("ROOT/opt/empty", "", 0o755)
    result = stage.run(program)
    assert result.status == 126
    assert result.err.startswith(f"udocker: run: {program}: ".encode())


def test_script_runs_by_its_interpreter(stage: Stage) -> None:
    stage.file("ROOT/opt/script", '#!/bin/sh -e\necho "$0" "$@"\n', 0o755)
    assert stage.output("/opt/script", "a b", "c") == "/opt/script a b c\n"


def test_script_whose_interpreter_is_missing_says_so(stage: Stage) -> None:
    stage.file("ROOT/opt/script", "#!/no/interpreter\n", 0o755)
    for program in ("/opt/script", "script"):
        result = stage.run(program, env=(("PATH", "/none:/opt:/bin"),))
        assert result.status == 127
        assert result.err.startswith(f"udocker: run: {program}: its interpreter ".encode())


def test_program_is_searched_in_the_containers_path(stage: Stage) -> None:
    stage.file("ROOT/first/tool", "#!/bin/sh\necho first\n", 0o644)
    stage.file("ROOT/second/tool", "#!/bin/sh\necho second\n", 0o755)
    assert stage.output("tool", env=(("PATH", "/none:/first:/second:/bin"),)) == "second\n"
    assert stage.run("tool", env=(("PATH", "/none:/first"),)).status == 126
    assert stage.run("tool", env=(("PATH", ""),)).status == 127


def test_arguments_pass_byte_by_byte(stage: Stage) -> None:
    odd = os.fsdecode(b"\xff \n'\"\\$x\x01")
    result = stage.run("sh", "-c", 'printf "%s|" "$@"', "sh", odd, "", "--", "-x")
    assert result.out == b"\xff \n'\"\\$x\x01||--|-x|"


def test_environment_is_exactly_what_is_asked_for(stage: Stage) -> None:
    facts = replace(host_facts(), hostname="node7", terminal=False, paths=("/proc", "/dev"))
    made = stage.image(env=(("A", "image"), ("B", "image"), ("EMPTY", "")))
    spec = {"env": (("B", os.fsdecode(b"user\xff=\n")),), "environ": {"SECRET": "x", "TERM": "vt"}}
    result = made.run("sh", "-c", "cat /proc/self/environ", facts=facts, **spec)
    assert sorted(result.out.split(b"\0")[:-1]) == sorted(
        [
            b"A=image",
            b"B=user\xff=\n",
            b"EMPTY=",
            b"HOME=/root",
            b"HOSTNAME=node7",
            b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            # busybox's shell adds these two
            *([b"PWD=/", b"SHLVL=1"]),
        ]
    )


def test_working_directory_is_the_root_by_default(stage: Stage) -> None:
    assert stage.output("pwd") == "/\n"


def test_working_directory_is_created_where_missing(stage: Stage) -> None:
    assert stage.output("pwd", workdir="/srv/deep") == "/srv/deep\n"
    assert stage.image(workdir="/from/image").output("pwd") == "/from/image\n"


def test_working_directory_that_is_a_file_is_refused(stage: Stage) -> None:
    result = stage.run("pwd", workdir="/etc/passwd")
    assert result.status == 125
    assert result.err.startswith(b"udocker: run: /etc/passwd: ")


# ---- standard files, signals, limits ----


def test_standard_input_and_output_pass(stage: Stage) -> None:
    data = bytes(range(256)) * 1000
    result = stage.run("sh", "-c", "echo error >&2; cat", stdin=data)
    assert (result.out, result.err) == (data, b"error\n")


def test_terminal_passes_through(stage: Stage) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    launch = stage.plan("sh", "-c", "[ -t 0 ] && [ -t 1 ] && tty && stty size")
    with stage.start(launch, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        assert process.wait(60) == 0
    text = read_terminal(master)
    os.close(master)
    assert text.startswith(b"/dev/pts/")
    assert text.split()[1:] == [b"33", b"99"]


def read_terminal(master: int) -> bytes:
    text = b""
    while select.select([master], [], [], 0)[0]:
        try:
            text += os.read(master, 4096)
        except OSError:  # EIO: the other side is closed
            break
    return text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_program_killed_by_a_signal_is_seen_so_by_its_waiter(stage: Stage, number: int) -> None:
    assert stage.run("sh", "-c", f"ulimit -c 0; kill -{int(number)} $$").status == -number


def test_signal_reaches_the_program(stage: Stage) -> None:
    launch = stage.plan("sh", "-c", "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.01; done")
    with stage.start(launch, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"got\n"
    assert process.returncode == 7


def test_program_is_the_started_process_itself(stage: Stage) -> None:
    launch = stage.plan("sh", "-c", "echo $$ $PPID")
    with stage.start(launch, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read().split() == [str(process.pid).encode(), str(os.getpid()).encode()]


def test_signals_are_at_their_defaults(stage: Stage) -> None:
    masks = sh(stage, "grep -E 'SigIgn|SigBlk' /proc/self/status | cut -f2").split()
    # The C library's own 32 and 33 are ignored in whatever GNU make starts, these tests too.
    assert [int(mask, 16) & ~(0b11 << 31) for mask in masks] == [0, 0]


def test_limits_pass(stage: Stage) -> None:
    launch = stage.plan("sh", "-c", "ulimit -n; ulimit -c")
    limits = {resource.RLIMIT_NOFILE: (77, 77), resource.RLIMIT_CORE: (0, 0)}

    def lower() -> None:
        for kind, values in limits.items():
            resource.setrlimit(kind, values)

    assert stage.finish(launch, preexec_fn=lower).out == b"77\n0\n"


def test_no_descriptor_leaks_into_the_program(stage: Stage) -> None:
    mounts = (Mount(str(stage.host), "/data", True),)
    # 3 is what the shell opens to list the directory.
    assert sh(stage, "for fd in /proc/self/fd/*; do echo ${fd##*/}; done", mounts=mounts).split() in (
        ["0", "1", "2", "3"],
        ["0", "1", "2"],
    )


def test_inherited_descriptor_stays_open(stage: Stage) -> None:
    reading, writing = os.pipe()
    launch = stage.plan("sh", "-c", f"echo through >&{writing}")
    assert stage.finish(launch, pass_fds=(writing,)).status == 0
    os.close(writing)
    assert os.read(reading, 100) == b"through\n"
    os.close(reading)


def test_runs_do_not_disturb_each_other(stage: Stage) -> None:
    launch = stage.plan("sh", "-c", "echo $$ > /tmp/$$; cat /tmp/$$")
    processes = [stage.start(launch, stdout=subprocess.PIPE) for _ in range(20)]
    for process in processes:
        with process:
            assert process.stdout is not None
            assert process.stdout.read() == f"{process.pid}\n".encode()


def test_leaves_no_mount_on_the_host(stage: Stage) -> None:
    stage.output("true", mounts=(Mount(str(stage.host), "/data"),))
    assert str(stage.root) not in Path("/proc/self/mountinfo").read_text()
