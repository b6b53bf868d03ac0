"""From a launch to a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from udocker.engine.base import Launch
from udocker.errors import EngineError
from udocker.run.execute import spawn
from udocker.run.wait import run_and_wait

SH = "/bin/sh"
IMPORTS = """import sys
from udocker.engine.base import Launch
from udocker.run.execute import *
from udocker.run.wait import *
"""


def launch(script: str, *arguments: str, **env: str) -> Launch:
    return Launch((SH, "-c", script, "sh", *arguments), env, "/")


# The C library's own signals 32 and 33, which are ignored in whatever GNU make starts, these tests too.
LIBRARYS_OWN = 0b11 << 31


def in_python(statement: str, *arguments: bytes, **options: object) -> subprocess.CompletedProcess[bytes]:
    """Run a statement in a Python of its own, as the command line does."""
    program = f"{IMPORTS}{statement}"
    argv = [os.fsencode(sys.executable), b"-c", program.encode(), *arguments]
    return subprocess.run(argv, capture_output=True, timeout=60, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_execute_becomes_the_program() -> None:
    done = in_python("execute(Launch(('/bin/sh', '-c', 'echo $A; pwd; exit 5'), {'A': 'b'}, '/usr'))")
    assert (done.returncode, done.stdout, done.stderr) == (5, b"b\n/usr\n", b"")


def test_execute_passes_bytes_unchanged() -> None:
    statement = (
        "execute(Launch(('/bin/sh', '-c', 'printf %s \"$1$A\"', 'sh', sys.argv[1]), {'A': sys.argv[1]}, '/'))"
    )
    for locale in ("C", "C.UTF-8", "POSIX"):
        done = in_python(statement, b"\xff\xc3\xa9\n", env={"LC_ALL": locale})
        assert done.stdout == b"\xff\xc3\xa9\n" * 2


def test_execute_gives_the_program_default_signals() -> None:
    script = "grep -E 'Sig(Ign|Blk)' /proc/self/status"
    done = in_python(f"execute(Launch(('/bin/sh', '-c', {script!r}), {{'PATH': '/bin:/usr/bin'}}, '/'))")
    masks = [int(line.split()[1], 16) for line in done.stdout.splitlines()]
    assert [mask & ~LIBRARYS_OWN for mask in masks] == [0, 0]


def test_execute_writes_out_what_was_printed_before() -> None:
    done = in_python("print('first', end=''); execute(Launch(('/bin/sh', '-c', 'echo second'), {}, '/'))")
    assert done.stdout == b"firstsecond\n"


def test_program_of_the_host_that_is_missing_is_an_engine_error() -> None:
    with pytest.raises(EngineError, match="/no/launcher: No such file"):
        spawn(Launch(("/no/launcher",), {}, "/"))


def test_arguments_that_are_too_long_are_named_so() -> None:
    with pytest.raises(EngineError, match="too long"):
        spawn(launch("true", "x" * (1 << 20)))


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 77", 77), ("kill -9 $$", 137)])
def test_waiter_gets_the_status_as_a_shell_would(script: str, status: int) -> None:
    assert run_and_wait(launch(script)) == status


def test_waiter_forwards_signals_and_restores_its_own(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    script = 'trap "exit 9" TERM; kill -TERM $PPID; while :; do sleep 0.01; done'
    assert run_and_wait(launch(script, PATH="/bin:/usr/bin")) == 9
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_was_inherited_reaches_the_program(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"7\n")
    with (tmp_path / "file").open("rb") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        script = f"read line </proc/self/fd/{inherited.fileno()}; exit $line"
        assert run_and_wait(launch(script)) == 7


def test_what_the_program_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    # The parent of the sleeping one has ended, and it has left the session: only who adopts it finds it.
    (tmp_path / "left").write_text("echo $$ >pid; exec sleep 1000")
    script = "(setsid sh left >/dev/null 2>&1 &); until [ -s pid ]; do :; done; exit 4"
    what = f"('/bin/sh', '-c', {script!r}), {{'PATH': '/bin:/usr/bin'}}, {str(tmp_path)!r}"
    assert in_python(f"sys.exit(run_and_wait(Launch({what})))").returncode == 4
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_background_jobs_of_the_shell_that_became_udocker_go_on(tmp_path: Path) -> None:
    statement = "run_and_wait(Launch(('/bin/sh', '-c', 'exit 0'), {}, '/'))"
    program = f"{IMPORTS}{statement}"
    script = 'sleep 1000 >/dev/null & echo $!; exec "$1" -c "$2"'
    argv = [SH, "-c", script, "sh", sys.executable, program]
    done = subprocess.run(argv, stdout=subprocess.PIPE, timeout=60, check=True)
    os.kill(int(done.stdout), signal.SIGKILL)  # it is still there to be ended


def test_waiter_survives_the_terminals_interrupt() -> None:
    script = "kill -INT $PPID; kill -QUIT $PPID; exit 3"
    assert run_and_wait(launch(script)) == 3


def test_ignored_signal_stays_ignored() -> None:
    script = "grep SigIgn /proc/self/status"
    statement = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        f"run_and_wait(Launch(('/bin/sh', '-c', {script!r}), {{'PATH': '/bin:/usr/bin'}}, '/'))"
    )
    done = in_python(statement)
    assert int(done.stdout.split()[1], 16) & ~LIBRARYS_OWN == 1 << (signal.SIGHUP - 1)
