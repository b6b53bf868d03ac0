"""Engine P's tracer: a process beside the container's, which nobody but the kernel notices."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.roots import identity_options, make_root
from tests.services.needs import need_command
from tests.services.waiting import wait_until
from udocker.engine.binaries import locate
from udocker.engine.translator import TRANSLATOR

MODES = {"P1": ("--trace", "--patch"), "P2": ("--trace-all",)}
GUEST = Path(__file__).resolve().parents[2] / "udocker/native/tests/guest_traced.c"
LOOP = "while :; do sleep 0.01; done"
LEAVES = "(until [ -e /tmp/go ]; do sleep 0.01; done; ls /bin/busybox && echo inside) & echo $!; exit 3"
TIMEOUT = 60


@dataclass(frozen=True)
class Traced:
    """A container's root under a tracer."""

    launcher: Path
    root: Path
    options: tuple[str, ...]

    def argv(self, *command: str) -> list[str]:
        binds = ("--bind", "/proc", "/proc", "--bind", "/dev", "/dev")
        return [str(self.launcher), *self.options, "--root", str(self.root), *binds, "--", *command]

    def start(self, script: str) -> subprocess.Popen[bytes]:
        """A script, when it has said that it runs; in a process group of its own, which is no orphan.

        An orphan's processes are not stopped by a terminal's signals: setpgid(2).
        """
        options: dict[str, Any] = {"cwd": "/", "env": {"PATH": "/bin"}, "stdout": subprocess.PIPE}
        options.update(identity_options(), preexec_fn=os.setpgrp)
        process: subprocess.Popen[bytes] = subprocess.Popen(
            self.argv("sh", "-c", f"echo runs; {script}"), **options
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"
        return process


@pytest.fixture(params=MODES)
def traced(request: pytest.FixtureRequest) -> Iterator[Traced]:
    if platform.machine() != "x86_64":
        pytest.skip("the engine is for x86-64")
    directory = Path(tempfile.mkdtemp(prefix="udocker-traced-")).resolve()
    directory.chmod(0o755)
    make_root(directory / "root")
    shutil.copy(locate(TRANSLATOR), directory)
    made = Traced(directory / TRANSLATOR, directory / "root", MODES[request.param])
    probe = subprocess.run(
        [made.launcher, *made.options, "--probe"], capture_output=True, check=False, **identity_options()
    )
    if probe.returncode != 0:
        pytest.skip(f"this host does not support it: {os.fsdecode(probe.stderr)}")
    yield made
    shutil.rmtree(directory)


def status_of(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(f"{name}:"))


def tracer_of(process: subprocess.Popen[bytes]) -> int:
    return int(status_of(process.pid, "TracerPid"))


def is_gone(pid: int) -> bool:
    try:
        return status_of(pid, "State").startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


def await_end(pid: int) -> None:
    wait_until(lambda: is_gone(pid), "the process's end", TIMEOUT)


def test_the_tracer_is_apart_from_the_program_and_holds_nothing_open(traced: Traced) -> None:
    with traced.start(LOOP) as process:
        tracer = tracer_of(process)
        assert status_of(tracer, "Name") == "udocker-tracer"
        assert os.getsid(tracer) == tracer
        assert os.listdir(f"/proc/{tracer}/fd") == []
        assert status_of(tracer, "PPid") != str(process.pid)
        process.kill()
    await_end(tracer)


def test_the_program_has_no_child_that_it_did_not_make(traced: Traced) -> None:
    with traced.start('wait; read line </proc/self/task/$$/children; echo "$line"') as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"\n"


def test_one_tracer_follows_every_process_of_the_container(traced: Traced) -> None:
    with traced.start(f"({LOOP}) & echo $!; {LOOP}") as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert status_of(child, "TracerPid") == str(tracer_of(process)) != "0"
        process.kill()
        os.kill(child, signal.SIGKILL)


def test_signals_to_the_tracer_change_nothing_but_the_one_that_kills(traced: Traced) -> None:
    with traced.start(f"sleep 100 & echo $!; {LOOP}") as process:
        assert process.stdout is not None
        child, tracer = int(process.stdout.readline()), tracer_of(process)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
            os.kill(tracer, number)
        assert not is_gone(tracer)
        assert process.poll() is None
        os.kill(tracer, signal.SIGKILL)
        assert process.wait(TIMEOUT) == -signal.SIGKILL
        await_end(child)


def test_the_tracer_stays_for_what_the_program_leaves_behind(traced: Traced) -> None:
    with traced.start(LEAVES) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        tracer = int(status_of(child, "TracerPid"))
        assert process.wait(TIMEOUT) == 3
        assert not is_gone(tracer)
        (traced.root / "tmp/go").touch()
        assert process.stdout.read() == b"/bin/busybox\ninside\n"
    await_end(child)
    await_end(tracer)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGTSTP])
def test_a_stop_and_what_continues_it_are_seen_by_the_parent(traced: Traced, number: int) -> None:
    with traced.start(LOOP) as process:
        os.kill(process.pid, number)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert os.WSTOPSIG(status) == number
        os.kill(process.pid, signal.SIGCONT)
        _, status = os.waitpid(process.pid, os.WCONTINUED)
        assert os.WIFCONTINUED(status)
        process.terminate()
    assert process.returncode == -signal.SIGTERM


def test_a_process_that_is_traced_already_is_told_so_in_one_line(traced: Traced) -> None:
    strace = need_command("strace", "strace")
    command = [strace, "-f", "-o", "/dev/null", *traced.argv("true")]
    result = subprocess.run(command, capture_output=True, check=False, **identity_options())
    assert result.returncode == 125
    assert result.stderr.startswith(b"udocker: run: ptrace: this process is traced already, ")
    assert result.stderr.count(b"\n") == 1


def processors_of(pid: int) -> str:
    return status_of(pid, "Cpus_allowed_list")


def test_the_tracer_is_bound_to_a_processor_only_while_there_is_something_to_do(traced: Traced) -> None:
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("needs two processors")
    with traced.start("until ls /tmp/go; do :; done 2>/dev/null; sleep 100") as process:
        tracer, own = tracer_of(process), processors_of(os.getpid())
        wait_until(lambda: processors_of(tracer).isdecimal(), "a tracer that is bound", TIMEOUT)
        assert processors_of(process.pid) == own
        (traced.root / "tmp/go").touch()
        wait_until(lambda: processors_of(tracer) == own, "a tracer that is bound no more", TIMEOUT)
        process.kill()
    await_end(tracer)


def test_the_tracer_keeps_to_the_processors_of_what_it_traces(traced: Traced) -> None:
    numbers = sorted(os.sched_getaffinity(0))
    with traced.start("echo go; until ls /tmp/go; do :; done 2>/dev/null; sleep 100") as process:
        tracer = tracer_of(process)
        for number in (numbers[0], numbers[-1]):
            os.sched_setaffinity(process.pid, [number])
            wait_until(lambda: processors_of(tracer) == str(number), "the same processor", TIMEOUT)  # noqa: B023
        process.kill()
    await_end(tracer)


def test_programs_find_what_they_may_expect_of_a_tracer_that_they_do_not_see(traced: Traced) -> None:
    compiler = need_command("gcc", "gcc libc6-dev")
    flags = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread")
    subprocess.run([compiler, *flags, "-o", traced.root / "bin/guest_traced", GUEST], check=True)
    (traced.root / "inside").touch()
    assert not (traced.root / "usr").exists()
    for check in ("tracing", "attaching", "filter", "silenced", "untraced", "executing-thread"):
        result = subprocess.run(
            traced.argv("/bin/guest_traced", check), capture_output=True, check=False, **identity_options()
        )
        shown = (traced.root / "etc/passwd").read_bytes() if check == "executing-thread" else b""
        assert (result.returncode, result.stdout, result.stderr) == (0, shown, b""), check
