"""Debuggers inside containers: Debian's gdb and strace find the container's programs under every engine."""

from __future__ import annotations

import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.conftest import VARIANTS
from tests.contract.images import ImageRoot, available, run
from tests.contract.roots import Result, Stage, give, identity_options
from tests.services.base_roots import debian_root, unpack
from tests.services.needs import need_command
from tests.services.sharing import session_directory
from tests.services.waiting import wait_until

MODES = ("T1", "T2", "P1", "P2", "R1")
NAME = "of-the-container\n"
SETTINGS = ("set confirm off", "set debuginfod enabled off", "set width 0")
PROGRAM = r"""
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int twice(int value)
{
    int result = value * 2;
    return result;
}

int main(int argc, char **argv)
{
    char line[64] = "";
    int answer = twice(20 + argc);
    FILE *file = fopen("/opt/greeting", "r");
    if (!file || !fgets(line, sizeof line, file))
        return 99;
    printf("%d %s", answer, line);
    fflush(stdout);
    if (argc > 1)
        while (access(argv[1], F_OK) != 0)
            usleep(10000);
    puts("ends");
    return answer - 35 + (argc > 1 ? -2 : 0);
}
"""


@dataclass(frozen=True)
class Debugged:
    """A container with debuggers, and a word in the environment of all that runs in it."""

    stage: Stage
    word: str

    def run(self, *command: str) -> Result:
        return run(self.stage, *command, env=(("UDOCKER_DEBUGGED", self.word),))

    def output(self, *command: str) -> str:
        """What a command that succeeds prints and complains."""
        result = self.run(*command)
        assert result.status == 0, result
        return os.fsdecode(result.out + result.err)

    def gdb(self, *commands: str) -> str:
        """A session of gdb without a terminal."""
        options = [word for command in (*SETTINGS, *commands) for word in ("-ex", command)]
        return self.output("gdb", "-q", "-nx", "-batch", *options, "/opt/pie")

    def left_over(self) -> list[str]:
        """Processes that are still there."""
        processes = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [entry.name for entry in processes if self.word.encode() in _read(entry / "environ")]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return b""


@pytest.fixture(scope="session")
def debug_root() -> Iterator[ImageRoot]:
    """A Debian with debuggers; made once for every mode."""
    compiler = need_command("gcc", "gcc libc6-dev")
    with session_directory("debuggers") as directory:
        root = directory / "container/ROOT"
        if not root.exists():
            root.mkdir(parents=True)
            (directory / "host").mkdir()
            give(directory)
            unpack(debian_root("bookworm", ("gdb", "strace"), "debuggers"), root, identity_options())
            source = root / "opt/pie.c"
            source.write_text(PROGRAM)
            (root / "opt/greeting").write_text(NAME)
            flags = ("-g", "-O0", "-fPIE", "-pie")
            subprocess.run([compiler, *flags, "-o", "pie", "pie.c"], cwd=root / "opt", check=True)
            give(root / "opt")
        yield ImageRoot("debuggers", directory / "container", directory / "host")


@pytest.fixture(params=MODES)
def debugged(request: pytest.FixtureRequest, debug_root: ImageRoot, launchers: Path) -> Iterator[Debugged]:
    variant = VARIANTS[request.param]
    made = Debugged(debug_root.stage(available(variant, launchers), variant.mode), uuid.uuid4().hex)
    yield made
    wait_until(lambda: not made.left_over(), "the end of all that was started")
    for path in (made.stage.root / "tmp").iterdir():
        path.unlink()


# ---- gdb ----


def test_a_breakpoint_in_a_position_independent_program_shows_where_it_is_and_what_it_has(
    debugged: Debugged,
) -> None:
    said = debugged.gdb("break twice", "run", "bt", "print value", "continue", "print $_exitcode")
    assert re.search(r"Breakpoint 1, twice \(value=21\) at pie.c:\d+", said)
    assert re.search(r"#1 +0x[0-9a-f]+ in main \(argc=1, ", said)
    assert "$1 = 21\n" in said
    assert f"42 {NAME}ends\n" in said
    assert "exited with code 07]" in said
    assert "$2 = 7\n" in said


def test_a_breakpoint_in_a_library_is_met(debugged: Debugged) -> None:
    said = debugged.gdb("break main", "run", "break puts", "continue", "bt", "finish", "continue")
    assert re.search(r"Breakpoint 2, .*puts", said)
    assert re.search(r"in main \(argc=1, .*\) at pie.c:\d+", said)
    assert "exited with code 07]" in said


def test_a_program_is_stepped_and_run_again(debugged: Debugged) -> None:
    steps = ("next", "next", "next", "next")
    said = debugged.gdb("break main", "run", *steps, "print line", "run", "stepi", "kill")
    assert f'$1 = "{NAME.strip()}\\n' in said
    assert said.count("Breakpoint 1, main (argc=1, ") == 2
    assert "killed]" in said


def test_a_step_over_a_call_and_its_end_are_seen_in_the_program(debugged: Debugged) -> None:
    commands = (
        "catch syscall openat",
        "continue",
        "info symbol $pc",
        "continue",
        "print $rax > 2 && $rax < 99",
    )
    said = debugged.gdb("break twice", "run", *commands, "kill")
    assert re.search(r"Catchpoint 2 \(call to syscall openat\), ", said)
    assert re.search(r"Catchpoint 2 \(returned from syscall openat\), ", said)
    assert re.search(r"open64.* in section .text of /lib/x86_64-linux-gnu/libc.so.6", said)
    assert "$1 = 1\n" in said


def test_what_proc_says_of_the_program_is_the_containers(debugged: Debugged) -> None:
    said = debugged.gdb("starti", "info proc exe", "info auxv", "kill")
    assert "exe = '/opt/pie'" in said
    assert re.search(r"Program stopped.\n0x[0-9a-f]+ in .* from /lib64/ld-linux-x86-64.so.2\n", said)
    assert re.search(r'AT_EXECFN .*"/opt/pie"', said)


def test_a_program_that_runs_is_attached_to_and_goes_on(debugged: Debugged) -> None:
    script = """
        /opt/pie /tmp/go >/tmp/out & program=$!
        until [ -s /tmp/out ]; do sleep 0.05; done
        gdb -q -nx -batch -ex 'info proc exe' -ex 'tbreak access' -ex continue -ex bt -p $program
        touch /tmp/go; wait $program; echo "status $?"; cat /tmp/out
    """
    said = debugged.output("bash", "-c", script)
    assert "exe = '/opt/pie'" in said
    assert re.search(r"#1 +0x[0-9a-f]+ in main \(argc=2, .*\) at pie.c:\d+", said)
    assert f"status 7\n44 {NAME}ends\n" in said


# ---- strace ----


def test_strace_shows_calls_with_the_paths_of_the_container(debugged: Debugged) -> None:
    said = debugged.output("strace", "-f", "-e", "trace=openat,execve", "cat", "/opt/greeting")
    assert re.search(r'execve\("/usr/bin/cat", \["cat", "/opt/greeting"\], .*\) = 0\n', said)
    assert re.search(r'openat\(AT_FDCWD, "/opt/greeting", O_RDONLY\) += 3\n', said)
    assert NAME in said
    assert "SIGSYS" not in said
    assert str(debugged.stage.root) not in said


def test_strace_that_wants_a_filter_says_where_it_does_without_and_shows_the_same(debugged: Debugged) -> None:
    said = debugged.output(
        "strace", "--seccomp-bpf", "-f", "-e", "trace=openat,execve", "sh", "-c", "cat /opt/greeting; exit 0"
    )
    without = "strace: seccomp filter is requested but unavailable\n" in said
    assert without == (debugged.stage.mode.family != "R")
    assert re.search(r'execve\("/usr/bin/sh", \["sh", "-c", .*\) = 0\n', said)
    assert re.search(r'execve\("/usr/bin/cat", \["cat", "/opt/greeting"\], .*\) = 0\n', said)
    assert re.search(r'openat\(AT_FDCWD, "/opt/greeting", O_RDONLY\) += 3\n', said)
    assert NAME in said
    assert str(debugged.stage.root) not in said


def test_strace_follows_children_and_shows_what_signals_do(debugged: Debugged) -> None:
    script = "trap 'echo caught' USR1; kill -USR1 $$; cat /opt/greeting | wc -l; exit 3"
    result = debugged.run("strace", "-f", "-o", "/tmp/trace", "bash", "-c", script)
    trace = (debugged.stage.root / "tmp/trace").read_text()
    assert (result.status, result.out, result.err) == (3, b"caught\n1\n", b"")
    assert len(re.findall(r"\+\+\+ exited with", trace)) == 3
    assert "--- SIGUSR1 {si_signo=SIGUSR1," in trace
    assert "SIGSYS" not in trace
    assert "syscall_0x" not in trace


def test_strace_attaches_to_a_program_that_runs_and_leaves_it(debugged: Debugged) -> None:
    script = """
        /opt/pie /tmp/go >/tmp/out & program=$!
        until [ -s /tmp/out ]; do sleep 0.05; done
        strace -o /tmp/trace -p $program & tracer=$!
        until grep -q access /tmp/trace; do sleep 0.05; done
        kill -INT $tracer; wait $tracer
        touch /tmp/go; wait $program; echo "status $?"
    """
    assert "status 7\n" in debugged.output("bash", "-c", script)
    trace = (debugged.stage.root / "tmp/trace").read_text()
    assert re.search(r'^access\("/tmp/go", F_OK\) += -1 ENOENT ', trace, re.MULTILINE)
    assert "SIGSYS" not in trace
