"""Images for another architecture than this host's, by the emulator that distributions have for it."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.commands import Commands
from tests.services.base_roots import foreign_root
from tests.services.needs import need_command
from tests.services.sharing import session_directory
from tests.services.users import User

PYTHON = """
import os, signal, subprocess, sys, threading
seen = []
worker = threading.Thread(target=lambda: seen.append(threading.current_thread().name))
worker.start()
worker.join()
signal.signal(signal.SIGALRM, lambda *_: seen.append("alarm"))
signal.setitimer(signal.ITIMER_REAL, 0.1)
signal.pause()
print(os.uname().machine, subprocess.check_output(["sh", "-c", "echo sub"]), seen[1:], os.getcwd())
"""


@pytest.fixture(scope="module")
def arm(user1: User, udocker_bin: Path) -> Iterator[Commands]:
    """A store with a container of Debian for arm64, named arm."""
    if platform.machine() != "x86_64":
        pytest.skip("the engine that emulates is for x86-64")
    need_command("qemu-aarch64-static", "qemu-user-static")
    with session_directory("store") as directory:
        os.chown(directory, user1.uid, user1.gid)
        commands = Commands(user1, udocker_bin, directory / "store")
        archive = str(foreign_root("trixie", "arm64"))
        commands.good("import", "--tocontainer", "--platform=linux/arm64", "--name=arm", archive, "arm:1")
        yield commands
        commands("rm", "-f", "arm")


@pytest.mark.parametrize("options", [(), ("--execmode=T2",), ("--execmode=T1",)])
def test_a_program_of_another_architecture_runs(arm: Commands, options: tuple[str, ...]) -> None:
    script = "uname -m; /bin/true; ls /etc/debian_version; (exit 7); echo $?; ls /nosuch 2>/dev/null; echo $0"
    result = arm("run", *options, "arm", "bash", "-c", script, check=True)
    assert result.stdout == "aarch64\n/etc/debian_version\n7\nbash\n"
    assert result.stderr == ""


def test_its_scripts_threads_and_signals_work(arm: Commands) -> None:
    assert arm.good("run", "-w", "/tmp", "arm", "python3", "-c", PYTHON) == (
        "aarch64 b'sub\\n' ['alarm'] /tmp\n"
    )
    script = "printf '#!/bin/sh -e\\necho $0 $@\\n' >/tmp/s; chmod +x /tmp/s; /tmp/s a 'b c'"
    assert arm.good("run", "arm", "sh", "-c", script) == "/tmp/s a b c\n"
    loop = "i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo $(/bin/true; echo $i); done | tail -n 1"
    assert arm.good("run", "arm", "bash", "-c", loop) == "50\n"


def test_its_status_is_the_programs(arm: Commands) -> None:
    assert arm("run", "arm", "sh", "-c", "exit 9").returncode == 9
    assert arm("run", "arm", "nosuch").returncode == 127


def test_a_mode_that_does_not_emulate_says_so(arm: Commands) -> None:
    result = arm("run", "--execmode=R1", "arm", "true")
    assert result.returncode == 126
    first, second = result.stderr.splitlines()
    assert first.endswith("this execution mode does not emulate it; T and P do")
    assert "not a format that this host executes" in second


def test_a_program_joins_its_run(arm: Commands) -> None:
    arm.good("run", "-d", "arm", "sleep", "600")
    assert arm.good("exec", "arm", "uname", "-m") == "aarch64\n"
    arm.good("kill", "arm")
    assert arm.good("wait", "arm") == "137\n"
