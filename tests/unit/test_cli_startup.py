"""What starting a container that is there imports: each module counts, because it is done a million times.

Tasks and ranks of jobs count as well.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from udocker.api import Config, prepared_container
from udocker.store.paths import StorePaths
from udocker_batch.taskspec import TaskSpec

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


# The entry point of udocker-batch, until the program is about to be started.
BATCH_PROGRAM = PROGRAM.replace("from udocker.cli.start", "from udocker_batch.start").replace(
    '"os.exec"', '("subprocess.Popen" if sys.argv[1] == "task" else "os.exec")'
)
# What measuring a program takes: signals and a thread that samples; and what goes on until an image is ready.
MEASURING = {"contextlib", "ctypes", "subprocess", "threading", "locale"}
OF_OTHER_ACTS = {
    "jinja2",
    "psutil",
    "zlib",
    "udocker_batch.accounting.records",
    "udocker_batch.arguments",
    "udocker_batch.cli",
    "udocker_batch.jobspec",
    "udocker_batch.nodestore",
    "udocker_batch.once",
    "udocker_batch.script",
    "udocker_batch.staging",
    "udocker_batch.submission",
}


@pytest.mark.parametrize(
    "options", [[], ["--env=A=1", "-v", "/tmp:/data", "-w", "/data", "--user", "0", "-i", "--nobanner"]]
)
def test_a_warm_run_imports_no_more_than_it_needs(tmp_path: Path, options: list[str]) -> None:
    env = box_in_store(tmp_path)
    env["UDOCKER_USE_RUNC_EXECUTABLE"] = "/usr/bin/runc"  # which has no meaning here, and is logged so
    command = ["run", *options, "box", "true"]
    assert "subprocess" in imported_by(command, env)
    imported = imported_by(command, env)
    assert "udocker.run.plan" in imported
    assert len(imported & ENGINES) == 1
    assert among(imported, FORBIDDEN) == set()


@pytest.mark.parametrize(("act", "needed"), [("task", MEASURING), ("rank", {"contextlib"})])
@pytest.mark.parametrize("is_image", [True, False])
def test_a_warm_task_and_a_warm_rank_import_no_more_than_they_need(
    tmp_path: Path, act: str, needed: set[str], is_image: bool
) -> None:
    env = box_in_store(tmp_path)
    imported_by(["run", "box", "true"], env)
    image = f"box@sha256:{'0' * 64}" if is_image else ""
    if is_image:
        name = prepared_container(Config(env["UDOCKER_DIR"]), image)
        (tmp_path / "store/containers" / name).symlink_to(ID)
    task = TaskSpec(image, ("true",), env["UDOCKER_DIR"], container="" if is_image else "box")
    env["UDOCKER_BATCH_TASK"] = task.to_json()
    env.update(UDOCKER_SCHEDULER="slurm", UDOCKER_JOB_ID="1", UDOCKER_TASK_ID="0")
    env.update(SLURM_JOB_ID="1", SLURM_STEP_ID="0", SLURM_PROCID="0")
    imported_by([act], env, BATCH_PROGRAM)  # makes the directory of the job's records
    imported = imported_by([act], env, BATCH_PROGRAM)
    assert {"udocker.run.plan", "udocker_batch.recording"} <= imported
    pinned = {"udocker.model.reference", "udocker.model.digest", "uuid", "hashlib"} if is_image else set()
    assert among(imported, (FORBIDDEN - needed - pinned) | OF_OTHER_ACTS) == set()


def box_in_store(directory: Path) -> dict[str, str]:
    """The environment of a store with a container."""
    paths = StorePaths(directory / "store")
    paths.create()
    container = paths.containers / ID
    (container / "ROOT/bin").mkdir(parents=True)
    (container / "container.json").write_text(json.dumps({"os": "linux", "architecture": "unknown"}))
    (container / "imagerepo.name").write_text("box:1")
    (paths.containers / "box").symlink_to(ID)
    packages = directory / "packages"
    packages.mkdir()
    (packages / "udocker").symlink_to(CHECKOUT / "udocker")
    (packages / "udocker_batch").symlink_to(CHECKOUT / "batch")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "UDOCKER_DIR": str(paths.root),
        "PYTHONPATH": str(packages),
        "XDG_RUNTIME_DIR": str(directory),  # what works here is found out and remembered for one test alone
    }


def among(imported: set[str], names: set[str]) -> set[str]:
    """What was imported of these modules and packages."""
    return {name for name in imported for bad in names if re.fullmatch(rf"{re.escape(bad)}(\..*)?", name)}


def imported_by(words: list[str], env: dict[str, str], begun: str = PROGRAM) -> set[str]:
    """What is imported by the command until it becomes the container's launcher."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as told:
        program = f"import os; os.dup2({writing}, 3)\n{begun}"
        command = [sys.executable, "-S", "-c", program, *words]
        done = subprocess.run(
            command, env=env, pass_fds=[writing], capture_output=True, text=True, check=False
        )
        os.close(writing)
        assert done.stderr == ""
        return set(told.read().split())
