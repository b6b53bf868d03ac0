"""Engines from archives: used when they are right, and without a trace when they are not."""

from __future__ import annotations

import functools
import hashlib
import http.server
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.images import Member, directory, file, symlink, tar_of
from udocker.cli.main import main
from udocker.engine.binaries import PACKAGE, locate, sums
from udocker.engine.select import engine_of
from udocker.engine.userns import PROGRAM
from udocker.errors import EngineUnavailable
from udocker.model.mode import ExecutionMode

SCRIPT = b"#!/bin/sh\necho the installed one $1\n"
GOOD = [directory("udocker_dir"), directory("udocker_dir/bin"), file(f"udocker_dir/bin/{PROGRAM}", SCRIPT)]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("UDOCKER_DIR", str(tmp_path / "store"))
    monkeypatch.delenv("UDOCKER_TARBALL", raising=False)
    return tmp_path / "store"


def archive_of(path: Path, members: list[Member]) -> tuple[str, str]:
    """Write an archive; its path and the option that tells its checksum."""
    path.write_bytes(tar_of(members))
    return str(path), f"--sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"


def installed(store: Path) -> list[str]:
    return sorted(str(path.relative_to(store)) for path in (store / "bin").rglob("*"))


def test_the_package_knows_the_checksums_of_its_programs(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert PROGRAM in sums()
    assert main(["install"]) == 0
    assert f"{PACKAGE}/{PROGRAM}: ok\n" in capsys.readouterr().out
    assert not store.exists()


@pytest.mark.parametrize("compress", [False, True])
def test_an_engine_is_installed_used_and_purged(store: Path, tmp_path: Path, compress: bool) -> None:
    path, checksum = archive_of(tmp_path / "engines.tar", GOOD)
    if compress:
        subprocess.run(["gzip", path], check=True)
        path += ".gz"
        checksum = f"--sha256={hashlib.sha256(Path(path).read_bytes()).hexdigest()}"
    assert main(["install", "--from", path, checksum]) == 0
    launcher = locate(PROGRAM, installed=store / "bin" / "engines")
    assert subprocess.run([launcher, "x"], capture_output=True, check=True).stdout == b"the installed one x\n"
    assert engine_of(ExecutionMode.R1, store).check(ExecutionMode.R1).available
    assert main(["install", "--force", "--from", path, checksum]) == 0  # once more, over itself
    assert list((store / "tmp").iterdir()) == []
    assert main(["install", "--purge"]) == 0
    assert installed(store) == []
    assert locate(PROGRAM, installed=store / "bin" / "engines") == f"{PACKAGE}/{PROGRAM}"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([file("bin/sh", SCRIPT)], "not a program"),
        ([file(f"../{PROGRAM}", SCRIPT)], "leads out"),
        ([file(f"/bin/{PROGRAM}", SCRIPT)], "absolute"),
        ([file(f"elsewhere/{PROGRAM}", SCRIPT)], "not a program"),
        ([symlink(PROGRAM, "/bin/sh")], "not a program"),
        ([*GOOD, file(f"bin/{PROGRAM}", SCRIPT)], "twice"),
        ([*GOOD, *(directory(f"d{number}") for number in range(200))], "more than 100 members"),
        ([directory("bin")], "no program"),
    ],
)
def test_a_hostile_archive_changes_nothing(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], members: list[Member], words: str
) -> None:
    good = archive_of(tmp_path / "good.tar", GOOD)
    assert main(["install", "--from", *good]) == 0
    before = installed(store)
    capsys.readouterr()
    assert main(["install", "--from", *archive_of(tmp_path / "bad.tar", members)]) == 125
    told = capsys.readouterr().err
    assert words in told
    assert told.startswith("udocker: ")
    assert installed(store) == before
    assert list((store / "tmp").iterdir()) == []


def test_a_program_that_is_too_large_is_refused(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = tarfile.TarInfo(PROGRAM)
    header.size = 1 << 40
    data = header.tobuf() + bytes(1 << 16)
    path = tmp_path / "large.tar"
    path.write_bytes(data)
    assert main(["install", "--from", str(path), f"--sha256={hashlib.sha256(data).hexdigest()}"]) == 125
    assert installed(store) == []


def test_a_wrong_checksum_is_one_line_and_changes_nothing(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = archive_of(tmp_path / "engines.tar", GOOD)
    assert main(["install", "--from", path, f"--sha256={'0' * 64}"]) == 125
    assert "its SHA-256 is" in capsys.readouterr().err
    assert installed(store) == []


@pytest.mark.parametrize(
    "arguments",
    [["--from", "x"], ["--from", "x", "--sha256=12"], ["--from", "/no/such", f"--sha256={'0' * 64}"]],
)
def test_bad_arguments_are_told(
    store: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(["install", *arguments]) == 125
    assert capsys.readouterr().err.startswith("udocker: install: ")


def test_an_installed_engine_that_was_changed_is_refused(store: Path, tmp_path: Path) -> None:
    assert main(["install", "--from", *archive_of(tmp_path / "engines.tar", GOOD)]) == 0
    with (store / "bin" / "engines" / PROGRAM).open("ab") as program:
        program.write(b"#")
    with pytest.raises(EngineUnavailable, match="checksum"):
        locate(PROGRAM, installed=store / "bin" / "engines")
    assert main(["install"]) == 125


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server of the test's directory."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_archive_is_taken_from_a_url(
    store: Path, tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, checksum = archive_of(tmp_path / "engines.tar", GOOD)
    assert main(["install", f"--from={server}/nothing.tar", checksum]) == 125
    assert "404" in capsys.readouterr().err
    assert main(["install", f"--from={server}/engines.tar", checksum]) == 0
    assert (store / "bin" / "engines" / PROGRAM).read_bytes() == SCRIPT


def test_udocker_tarball_counts_with_a_checksum_only(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, checksum = archive_of(tmp_path / "engines.tar", GOOD)
    monkeypatch.setenv("UDOCKER_TARBALL", path)
    assert main(["install"]) == 0
    assert "UDOCKER_TARBALL" in capsys.readouterr().err
    assert not store.exists()
    assert main(["install", checksum]) == 0
    assert (store / "bin" / "engines" / PROGRAM).exists()
