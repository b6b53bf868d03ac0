"""UDOCKER_USE_PROOT_EXECUTABLE: a PRoot in place of the tracer, tried before it is used."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from tests.services.needs import need_command
from udocker.cli.main import main
from udocker.config import Config
from udocker.engine.base import Identity, Process
from udocker.engine.proot import ProotEngine
from udocker.errors import EngineUnavailable
from udocker.model.container import Container
from udocker.model.manifest import ImageConfig, Platform
from udocker.model.mode import ExecutionMode
from udocker.model.mount import Mount

P1, P2 = ExecutionMode.P1, ExecutionMode.P2
# Takes the command from behind PRoot's options and runs it on the host, by the program that the bind names.
SHOWS_THE_HOST = """
while [ "$1" != -b ]; do shift 2; done
program=${2%%:*}
while [ "$1" != /probe ]; do shift; done
shift
exec "$program" "$@"
"""


def fake(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def planned(
    proot: str, mode: ExecutionMode = P1, **changes: object
) -> tuple[tuple[str, ...], dict[str, str]]:
    config = ImageConfig(document={}, platform=Platform("unknown", "unknown"))
    values: dict[str, object] = {
        "argv": ("sh", "-c", "true"),
        "env": {"A": "b"},
        "workdir": "/srv",
        "identity": Identity(7, 8),
        "mounts": (Mount("/data", "/inside"),),
        **changes,
    }
    process = Process(**values)  # type: ignore[arg-type]
    launch = ProotEngine(proot).plan(Container("0" * 36, "/c", "image", config), process, mode)
    return launch.argv, dict(launch.env)


@pytest.mark.parametrize("mode", [P1, P2])
def test_a_proot_that_keeps_the_host_out_is_supported(mode: ExecutionMode) -> None:
    need_command("proot", "proot")
    support = ProotEngine("proot").check(mode)
    assert (support.available, support.reason) == (True, "")


def test_a_proot_that_shows_the_hosts_files_is_refused(tmp_path: Path) -> None:
    proot = fake(tmp_path / "proot", SHOWS_THE_HOST)
    support = ProotEngine(proot).check(P1)
    assert not support.available
    assert support.reason == f"{proot}: this PRoot shows the host's files in the container"


def test_a_proot_that_shows_them_with_its_filter_alone_is_refused_in_p1(tmp_path: Path) -> None:
    real = shlex.quote(need_command("proot", "proot"))
    text = f'[ -n "$PROOT_NO_SECCOMP" ] && exec {real} "$@"\n{SHOWS_THE_HOST}'
    engine = ProotEngine(fake(tmp_path / "proot", text))
    assert "shows the host's files" in engine.check(P1).reason
    assert engine.check(P2).available


@pytest.mark.parametrize(
    ("text", "reason"),
    [("echo first; echo broken >&2; exit 1", "broken"), ("exit 3", "ended with status 3")],
)
def test_a_proot_that_does_not_work_has_a_reason(tmp_path: Path, text: str, reason: str) -> None:
    proot = fake(tmp_path / "proot", text)
    assert ProotEngine(proot).check(P1).reason == f"{proot}: cannot run a program: {reason}"


def test_a_proot_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none"), "no-proot-of-this-name"):
        support = ProotEngine(name).check(P1)
        assert support.reason == f"UDOCKER_USE_PROOT_EXECUTABLE: {name}: not there, or not executable"
        assert "unset" in support.hint


def test_a_run_is_proots_command_line(tmp_path: Path) -> None:
    proot = fake(tmp_path / "proot", "exit 0")
    options = ("-r", "/c/ROOT", "-w", "/srv", "-i", "7:8", "-b", "/data:/inside")
    assert planned(proot) == ((proot, *options, "sh", "-c", "true"), {"A": "b"})
    assert planned(proot, P2)[1] == {"A": "b", "PROOT_NO_SECCOMP": "1"}
    assert "5.4.0" in planned(proot, kernel="5.4.0")[0]


def test_what_proot_cannot_do_is_refused(tmp_path: Path) -> None:
    proot = fake(tmp_path / "proot", "exit 0")
    for changes in ({"read_only": True}, {"mounts": (Mount(str(tmp_path), "/data", read_only=True),)}):
        with pytest.raises(EngineUnavailable, match="no read-only binds"):
            planned(proot, **changes)
    with pytest.raises(EngineUnavailable, match="a colon"):
        planned(proot, mounts=(Mount("/a:b", "/data"),))


def test_what_the_caller_cannot_write_to_is_bound_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proot = fake(tmp_path / "proot", "exit 0")
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and allowed(path, mode))
    mounts = (Mount("/proc/version", "/v", read_only=True),)
    assert "/proc/version:/v" in planned(proot, mounts=mounts)[0]


def test_the_setting_is_udockers(tmp_path: Path) -> None:
    for text, expected in (("/opt/proot", "/opt/proot"), ("UDOCKER", ""), ("", "")):
        environ = {"HOME": str(tmp_path), "UDOCKER_USE_PROOT_EXECUTABLE": text}
        assert Config.from_environment(environ).proot == expected


def test_doctor_tells_of_the_proot_that_would_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    proot = fake(tmp_path / "proot", SHOWS_THE_HOST)
    monkeypatch.setenv("UDOCKER_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("UDOCKER_USE_PROOT_EXECUTABLE", proot)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert main(["--allow-root", "doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    refused = f"does not work here: {proot}: this PRoot shows the host's files in the container ("
    assert [line.split(": ", 1)[1].startswith(refused) for line in lines[3:5]] == [True, True]
    assert os.path.isfile(tmp_path / f"udocker-{os.geteuid()}.engine")
