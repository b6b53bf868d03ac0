"""udocker-account, the parent of a rank's program, which writes down what that used."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from udocker.api import Config, accounting_program
from udocker_batch.accounting.records import JobRecords
from udocker_batch.environment import TaskIdentity
from udocker_batch.recording import Recording
from udocker_batch.taskspec import TaskSpec
from udocker_batch.usage import Usage

BEGUN = b'{"job": "7", "task": null, "attempt": 0, "host": "n", "image": "i", "digest": "", "command": ["x"]'
BEGUN += b', "started": 1.0'


def start(path: Path, *argv: str, **options: Any) -> subprocess.Popen[str]:
    """The program with a record that goes to ``path``."""
    fd = os.memfd_create("usage", 0)
    os.write(fd, BEGUN)
    command = [accounting_program(), str(fd), str(path.with_name("new")), str(path), *argv]
    try:
        return subprocess.Popen(
            command,
            pass_fds=[fd],
            text=True,
            start_new_session=True,
            **{"stderr": subprocess.PIPE, **options},
        )
    finally:
        os.close(fd)


def run(path: Path, *argv: str, **options: Any) -> tuple[int, str, Usage]:
    with start(path, *argv, **options) as process:
        _, told = process.communicate(timeout=60)
    return process.returncode, told, Usage.from_json(path.read_text())


def test_what_a_program_and_its_children_used_is_written_down(tmp_path: Path) -> None:
    burn = "import os\nwhile sum(os.times()[:2]) < 0.2: pass\n"
    text = f"import os\nif os.fork(): os.wait()\n{burn}x = bytearray(50 << 20)\nos.write(1, x[:1000])"
    status, told, usage = run(tmp_path / "record", sys.executable, "-c", text, stdout=subprocess.DEVNULL)
    assert (status, told) == (0, "")
    assert (usage.state, usage.exit_status, usage.job) == ("ended", 0, "7")
    assert usage.user_seconds is not None
    assert usage.system_seconds is not None
    assert usage.wall_seconds is not None
    assert usage.ended is not None
    assert usage.user_seconds + usage.system_seconds >= 0.4
    assert usage.wall_seconds >= 0.4
    assert abs(usage.ended - time.time()) < 60
    assert usage.peak_memory is not None
    assert usage.peak_memory > 50 << 20
    assert usage.written_bytes is None or usage.written_bytes >= 2000
    assert not (tmp_path / "new").exists()


def test_a_child_that_was_left_by_its_parent_is_counted(tmp_path: Path) -> None:
    text = """
import os, time
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
        while sum(os.times()[:2]) < 0.3: pass
    os._exit(0)
os.wait()
while os.path.exists("/proc/%d/task/%d/children" % ((os.getppid(),) * 2)) and \\
        len(open("/proc/%d/task/%d/children" % ((os.getppid(),) * 2)).read().split()) > 1: time.sleep(0.05)
"""
    _, told, usage = run(tmp_path / "record", sys.executable, "-c", text)
    assert told == ""
    assert usage.user_seconds is not None
    assert usage.system_seconds is not None
    assert usage.user_seconds + usage.system_seconds >= 0.3


def test_exit_status_and_death_by_signal_are_the_programs(tmp_path: Path) -> None:
    path = tmp_path / "record"
    status, _, usage = run(path, "/bin/sh", "-c", "exit 9")
    assert (status, usage.exit_status) == (9, 9)
    status, _, usage = run(path, "/bin/sh", "-c", "kill -SEGV $$")
    assert (status, usage.exit_status) == (-signal.SIGSEGV, 128 + signal.SIGSEGV)
    status, told, usage = run(path, "/nosuch")
    assert (status, usage.exit_status) == (127, 127)
    assert told == "udocker-batch: rank: /nosuch: No such file or directory\n"


@pytest.mark.parametrize("leaves", [False, True])
def test_a_signal_is_passed_on_once_also_to_who_has_left_the_group(tmp_path: Path, leaves: bool) -> None:
    begin = "import os, signal, time\n" + ("os.setpgid(0, 0)\n" if leaves else "")
    text = begin + (
        "signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b'usr1\\n'))\n"
        "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'term\\n'), os._exit(4)))\n"
        "os.write(1, b'ready\\n')\nwhile True: time.sleep(0.05)"
    )
    command = (sys.executable, "-u", "-c", text)
    with start(tmp_path / "record", *command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGUSR1)
        # Read first: a second one is merged with the first while that is pending. Passed on twice, both come
        # before what is sent afterwards.
        assert process.stdout.readline() == "usr1\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == "term\n"
        assert process.wait(30) == 4


def test_a_reader_sees_the_end_when_the_program_closes_its_output(tmp_path: Path) -> None:
    text = "echo out; exec >&-; read line"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with start(tmp_path / "record", "/bin/sh", "-c", text, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "out\n"
        assert process.poll() is None
        process.communicate("go on\n", timeout=30)
        assert process.returncode == 0


def test_a_terminals_key_reaches_the_program_once(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    text = "trap 'echo int; exit 3' INT; echo ready; while :; do sleep 0.1; done"
    setup = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    fd = os.memfd_create("usage", 0)
    os.write(fd, BEGUN)
    record = tmp_path / "record"
    words = [accounting_program(), str(fd), str(tmp_path / "new"), str(record), "/bin/sh", "-c", text]
    process = subprocess.Popen(
        [sys.executable, "-c", f"{setup}; os.execv(sys.argv[1], sys.argv[1:])", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        pass_fds=[fd],
        start_new_session=True,
    )
    os.close(theirs)
    os.close(fd)
    seen = b""
    while b"ready" not in seen:
        seen += os.read(ours, 1000)
    os.write(ours, b"\x03")
    assert process.wait(30) == 3
    seen += os.read(ours, 1000)
    os.close(ours)
    assert seen.count(b"int\r\n") == 1
    assert json.loads(record.read_text())["exit_status"] == 3


def test_a_record_that_cannot_be_written_costs_a_line(tmp_path: Path) -> None:
    with start(tmp_path / "nosuch" / "record", "/bin/sh", "-c", "exit 6") as process:
        _, told = process.communicate(timeout=30)
    assert process.returncode == 6
    assert told == f"udocker-batch: rank: {tmp_path}/nosuch/record: No such file or directory\n"


@pytest.mark.parametrize("task", [None, 3])
def test_a_ranks_record_is_completed_and_read_back(tmp_path: Path, task: int | None) -> None:
    config = Config(str(tmp_path / "store"))
    spec = TaskSpec("i@sha256:0", ("x",), config.udocker_dir)
    record = Recording(config, spec, TaskIdentity("slurm", "7", task, 1, step="0", rank=5), 2)
    argv = record.accounted(("/bin/sh", "-c", "exit 4"))
    (running,) = JobRecords(tmp_path / "store", "slurm", "7").read().usages
    assert (running.state, running.rank, running.exit_status) == ("running", 5, None)
    done = subprocess.run(argv, pass_fds=[int(argv[1])], check=False)
    os.close(int(argv[1]))
    assert done.returncode == 4
    records = JobRecords(tmp_path / "store", "slurm", "7").read()
    assert records.problems == ()
    (usage,) = records.usages
    assert (usage.task, usage.attempt, usage.step, usage.rank) == (task, 1, "0", 5)
    assert (usage.state, usage.exit_status, usage.extra["cpus"]) == ("ended", 4, 2)
    assert usage.wall_seconds is not None
    assert records.tasks == ()


def test_without_a_record_a_rank_is_its_program(tmp_path: Path) -> None:
    config = Config(str(tmp_path))
    spec = TaskSpec("i@sha256:0", ("x",), config.udocker_dir, usage=False)
    record = Recording(config, spec, TaskIdentity("slurm", "7", None, 0, step="0", rank=5), 2)
    assert record.accounted(("/bin/true",)) == ("/bin/true",)
    assert list(tmp_path.iterdir()) == []
