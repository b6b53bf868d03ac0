"""``udocker doctor`` on hosts that forbid one thing or another."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.services.needs import need_command, need_root
from udocker.cli.main import main
from udocker.engine import select
from udocker.engine.base import Engine
from udocker.engine.ptrace import PtraceEngine
from udocker.engine.trap import TrapEngine
from udocker.engine.userns import UsernsEngine

# As root R comes first.
MODES = [mode.value for mode in select.preferred_modes()]
ON_X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the trap engine is for x86-64")
UDOCKER = Path(sys.executable).with_name("udocker")


def doctor(tmp_path: Path, before: tuple[str, ...] = (), **options: Any) -> list[str]:
    """The lines that it prints; it always ends well."""
    store = str(tmp_path / "store")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "UDOCKER_DIR": store,
        "XDG_RUNTIME_DIR": str(tmp_path),
    }
    argv = [*before, str(UDOCKER), "--allow-root", "doctor"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False, **options)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


def forbid_filters() -> None:
    """As a container's own filter may do: prctl(PR_SET_SECCOMP) and seccomp(2) fail with EPERM."""
    load, equal, answer = 0x20, 0x15, 0x06
    refuse = 0x00050000 | errno.EPERM
    lines = [
        (load, 0, 0, 0),  # the call's number
        (equal, 4, 0, 317),  # seccomp(2)
        (equal, 0, 2, 157),  # prctl(2)
        (load, 0, 0, 16),  # its first argument
        (equal, 1, 0, 22),  # PR_SET_SECCOMP
        (answer, 0, 0, 0x7FFF0000),
        (answer, 0, 0, refuse),
    ]
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = struct.pack("HxxxxxxP", len(lines), ctypes.addressof(text))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
        raise OSError(ctypes.get_errno(), "prctl")


@ON_X86
def test_every_mode_has_a_line_and_one_is_the_default(tmp_path: Path) -> None:
    remembered = tmp_path / f"udocker-{os.geteuid()}.engine"
    doctor(tmp_path)
    told = remembered.read_text()
    remembered.write_text(told.replace(f"\n{MODES[0]}", "\nT1"))  # as on a day when others were forbidden
    lines = doctor(tmp_path)
    assert [line.split(": ")[0] for line in lines] == [*MODES, "default"]
    assert remembered.read_text() == told
    assert "T2: works here, with any user inside, by emulation" in lines
    assert lines[2] == "T1: works here, with any user inside, by emulation"
    assert lines[-1].endswith(", the first of these that works here")
    assert not (tmp_path / "store").exists()


@ON_X86
def test_without_user_namespaces_the_next_mode_is_the_default(tmp_path: Path) -> None:
    """A name space in which no further one may be made stands for a host that forbids them."""
    need_command("unshare", "util-linux")
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    lines = doctor(tmp_path, ("unshare", "--map-root-user", "sh", "-c", script, "sh"))
    refused = lines[MODES.index("R1")]
    assert refused.startswith("R1: does not work here: user namespace: switched off: ")
    assert "ask the administrator to raise user.max_user_namespaces" in refused
    assert lines[-1] == "default: T2, the first of these that works here"


@ON_X86
def test_where_filters_are_forbidden_the_reason_is_told(tmp_path: Path) -> None:
    lines = doctor(tmp_path, preexec_fn=forbid_filters)
    for mode in ("T2", "T1", "P1"):
        line = lines[MODES.index(mode)]
        assert "does not work here: seccomp: this host does not let system calls be trapped" in line
        assert "a sandbox or a container around this process may forbid it" in line
    assert lines[4].startswith("P2: works here, ")


def test_a_store_without_executable_files_is_told(tmp_path: Path) -> None:
    need_root()
    (tmp_path / "store").mkdir()
    script = f'mount -t tmpfs -o noexec none {tmp_path}/store && exec "$@"'
    lines = doctor(tmp_path, ("unshare", "--mount", "sh", "-c", script, "sh"))
    assert lines[-1].startswith(f"store: {tmp_path}/store: mounted noexec: ")
    assert "set UDOCKER_DIR" in lines[-1]


def refusing(engine: Engine) -> Any:
    return lambda: engine


def test_a_host_on_which_nothing_works_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = tmp_path / "launcher"
    launcher.write_text("#!/bin/sh\necho 'udocker: run: this: is forbidden (ask)' >&2\nexit 125\n")
    launcher.chmod(0o755)
    made = {"R": UsernsEngine(launcher), "T": TrapEngine(launcher), "P": PtraceEngine(launcher)}
    engines = {family: refusing(engine) for family, engine in made.items()}
    monkeypatch.setattr(select, "ENGINES", engines)
    monkeypatch.setenv("UDOCKER_DIR", str(tmp_path))
    assert main(["--allow-root", "doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:-1] == [f"{mode}: does not work here: this: is forbidden (ask)" for mode in MODES]
    assert lines[-1] == "default: none: no container can be run on this host"


@pytest.mark.parametrize(("configured", "shown"), [("t1", "T1, set by UDOCKER_DEFAULT_EXECUTION_MODE")])
def test_a_default_that_somebody_set_is_shown_as_such(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    configured: str,
    shown: str,
) -> None:
    monkeypatch.setenv("UDOCKER_DIR", str(tmp_path))
    monkeypatch.setenv("UDOCKER_DEFAULT_EXECUTION_MODE", configured)
    assert main(["--allow-root", "doctor"]) == 0
    assert f"default: {shown}\n" in capsys.readouterr().out
