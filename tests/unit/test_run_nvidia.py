"""The NVIDIA driver of a host, of files by the right names, and what a run gets of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.test_run_plan import CHOICE, FACTS, container
from udocker.config import Config
from udocker.engine.base import Identity, Process
from udocker.model.mount import Mount
from udocker.model.runspec import RunSpec
from udocker.run.hostlibs import with_nvidia
from udocker.run.plan import plan_run
from udocker.system import nvidia
from udocker.system.nvidia import find_driver

ELF64, ELF32 = b"\x7fELF\x02\x01\x01", b"\x7fELF\x01\x01\x01"


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tree with the names of a driver; what the host itself has is not looked at."""
    monkeypatch.setattr(nvidia, "_DIRECTORIES", ())
    monkeypatch.setattr(nvidia, "_LDCONFIG", ())
    lib, bin_ = tmp_path / "lib [64]", tmp_path / "bin"
    lib.mkdir()
    bin_.mkdir()
    for name in ("libcuda.so.550.54.14", "libnvidia-ml.so.550.54.14", "libGLX_nvidia.so.0", "libOpenCL.so.1"):
        (lib / name).write_bytes(ELF64)
    (lib / "libcuda.so.1").symlink_to("libcuda.so.550.54.14")
    (lib / "libcuda.so").symlink_to("libcuda.so.1")
    (lib / "libnvidia-dangling.so.1").symlink_to("nowhere")
    (lib / "libother.so").write_bytes(ELF64)
    (bin_ / "nvidia-smi").write_text("#!/bin/sh\necho fake\n")
    (bin_ / "nvidia-smi").chmod(0o755)
    (bin_ / "nvidia-debugdump").write_text("not executable")
    yield tmp_path


LIBRARIES = [
    "libGLX_nvidia.so.0",
    "libOpenCL.so.1",
    "libcuda.so",
    "libcuda.so.1",
    "libcuda.so.550.54.14",
    "libnvidia-ml.so.550.54.14",
]


def search(driver: Path) -> dict[str, str]:
    return {"LD_LIBRARY_PATH": f"{driver}/lib [64]::relative", "PATH": f"{driver}/bin:/nowhere"}


def test_the_driver_is_found_by_its_names(driver: Path) -> None:
    environ = search(driver)
    found = find_driver(environ["LD_LIBRARY_PATH"], environ["PATH"])
    assert found is not None
    assert sorted(map(os.path.basename, found.libraries)) == LIBRARIES
    assert found.programs == (f"{driver}/bin/nvidia-smi",)


def test_libraries_of_32_bits_are_no_driver(driver: Path) -> None:
    old = driver / "lib32"
    old.mkdir()
    (old / "libcuda.so.1").write_bytes(ELF32)
    assert find_driver(str(old), "") is None
    both = find_driver(f"{old}:{driver}/lib [64]", "")
    assert both is not None
    assert not any(path.startswith(str(old)) for path in both.libraries)


def test_no_driver_is_none(driver: Path) -> None:
    assert find_driver("", "") is None
    assert find_driver("/etc", "/bin") is None


def process(env: dict[str, str]) -> Process:
    return Process(("true",), env, "/", Identity(0, 0), (Mount("/mine", "/usr/local/nvidia/bin/nvidia-smi"),))


def test_a_run_gets_the_hosts_own_driver_read_only(driver: Path) -> None:
    env = {"PATH": "/usr/bin:/usr/local/nvidia/bin", "LD_LIBRARY_PATH": "/opt/lib"}
    made = with_nvidia(process(env), search(driver), True)
    assert made.scratch == ("/usr/local/nvidia",)
    assert made.env["LD_LIBRARY_PATH"] == "/usr/local/nvidia/lib64:/opt/lib"
    assert made.env["PATH"] == "/usr/local/nvidia/bin:/usr/bin"
    mine, *bound = made.mounts
    assert mine == Mount("/mine", "/usr/local/nvidia/bin/nvidia-smi")  # the user's wins
    assert all(mount.read_only for mount in bound)
    shown = {mount.target: mount.source for mount in bound}
    assert shown["/usr/local/nvidia/lib64/libcuda.so.1"] == f"{driver}/lib [64]/libcuda.so.550.54.14"
    assert [name for name in LIBRARIES if f"/usr/local/nvidia/lib64/{name}" not in shown] == []


def test_a_host_without_a_driver_is_told_and_the_run_goes_on(
    driver: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = process({})
    with caplog.at_level(logging.WARNING):
        assert with_nvidia(made, {}, True) == made
    assert len(caplog.messages) == 1
    assert "no NVIDIA driver" in caplog.messages[0]


def test_the_record_beside_the_container_decides(driver: Path) -> None:
    made = container(driver)
    config = Config(udocker_dir=driver)

    def options() -> tuple[str, ...]:
        return plan_run(config, made, RunSpec(("true",)), search(driver), FACTS, CHOICE).argv

    assert "--scratch" not in options()
    (driver / "nvidia").touch()
    assert "/usr/local/nvidia/lib64/libcuda.so.1" in options()
