"""What starting a container that is there imports: each module counts, because it is done a million times."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from udocker.store.paths import StorePaths

FORBIDDEN = {
    "argparse",
    "configparser",
    "contextlib",
    "ctypes",
    "dataclasses",
    "fnmatch",
    "gettext",
    "hashlib",
    "inspect",
    "ipaddress",
    "isal",
    "locale",
    "logging",
    "pathlib",
    "requests",
    "rich",
    "secrets",
    "shlex",
    "shutil",
    "socket",
    "ssl",
    "subprocess",
    "tarfile",
    "tempfile",
    "threading",
    "typing",
    "udocker.cli.keptrun",
    "udocker.cli.output",
    "udocker.cli.parser",
    "udocker.model.digest",
    "udocker.model.manifest",
    "udocker.model.reference",
    "udocker.registry",
    "udocker.run.foreign",
    "udocker.run.images",
    "udocker.run.ports",
    "udocker.run.runs",
    "udocker.run.wait",
    "udocker.store.claims",
    "udocker.store.images",
    "udocker.store.layers",
    "udocker.store.legacy",
    "udocker.store.lock",
    "udocker.store.runs",
    "udocker.store.unpack",
    "udocker.system.emulators",
    "udocker.system.processes",
    "urllib",
    "urllib3",
    "uuid",
    "yaml",
    "zstandard",
}
ENGINES = {"udocker.engine.ptrace", "udocker.engine.trap", "udocker.engine.userns"}
ID = "5b0f6d3c-2f43-4b38-9c4e-7f6c19a0f1de"
CHECKOUT = Path(__file__).resolve().parents[2]
# As pip's own wrapper, without site: what that imports is the installation's.
PROGRAM = """
import os, re, sys
def tell(*_):
    os.write(3, "\\n".join(sys.modules).encode())
    os._exit(0)
sys.addaudithook(lambda event, _: tell() if event == "os.exec" else None)
from udocker.cli.start import start
sys.exit(start())
"""


@pytest.mark.parametrize(
    "options", [[], ["--env=A=1", "-v", "/tmp:/data", "-w", "/data", "--user", "0", "-i", "--nobanner"]]
)
def test_a_warm_run_imports_no_more_than_it_needs(tmp_path: Path, options: list[str]) -> None:
    paths = StorePaths(tmp_path / "store")
    paths.create()
    directory = paths.containers / ID
    (directory / "ROOT/bin").mkdir(parents=True)
    (directory / "container.json").write_text(json.dumps({"os": "linux", "architecture": "unknown"}))
    (directory / "imagerepo.name").write_text("box:1")
    (paths.containers / "box").symlink_to(ID)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "UDOCKER_DIR": str(paths.root)}
    env["PYTHONPATH"] = str(CHECKOUT)
    env["UDOCKER_USE_RUNC_EXECUTABLE"] = "/usr/bin/runc"  # which has no meaning here, and is logged so
    env["XDG_RUNTIME_DIR"] = str(tmp_path)  # what works here is found out and remembered for this test alone
    command = ["run", *options, "box", "true"]
    assert "subprocess" in imported_by(command, env)
    imported = imported_by(command, env)
    assert "udocker.run.plan" in imported
    assert len(imported & ENGINES) == 1
    unwanted = {
        name for name in imported for bad in FORBIDDEN if re.fullmatch(rf"{re.escape(bad)}(\..*)?", name)
    }
    assert unwanted == set()


def imported_by(words: list[str], env: dict[str, str]) -> set[str]:
    """What is imported by the command until it becomes the container's launcher."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as told:
        program = f"import os; os.dup2({writing}, 3)\n{PROGRAM}"
        command = [sys.executable, "-S", "-c", program, *words]
        done = subprocess.run(
            command, env=env, pass_fds=[writing], capture_output=True, text=True, check=False
        )
        os.close(writing)
        assert done.stderr == ""
        return set(told.read().split())
