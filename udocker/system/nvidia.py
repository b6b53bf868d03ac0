"""The NVIDIA driver of this host: what a program needs of it that no image can bring.

Libraries of a driver work with the kernel module of the same version only, so they are looked for on the
host at each run.
"""

from __future__ import annotations

import glob
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Optional

# Any of these makes a directory one of the driver's.
_MAIN = ("libcuda.so*", "libnvidia-ml.so*", "libnvidia-cfg.so*")
# What the driver installs: compute, management, video, graphics and their loaders.
_LIBRARIES = ("libcuda*.so*", "libnvidia-*.so*", "libnvcuvid.so*", "libnvoptix.so*", "lib*_nvidia.so*")
_LOADERS = ("libOpenCL.so*",)
_PROGRAMS = (
    "nvidia-smi",
    "nvidia-debugdump",
    "nvidia-persistenced",
    "nvidia-cuda-mps-control",
    "nvidia-cuda-mps-server",
)
_FILES = ("/etc/OpenCL/vendors/nvidia.icd", "/etc/vulkan/icd.d/nvidia_icd.json")
_DIRECTORIES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib/nvidia",
    "/usr/lib/wsl/lib",
)
_LDCONFIG = ("/sbin/ldconfig", "/usr/sbin/ldconfig")
_SECONDS = 30
_ELF32 = b"\x7fELF\x01"


@dataclass(frozen=True)
class NvidiaDriver:
    """Paths on this host; ``libraries`` have one path a file name."""

    libraries: tuple[str, ...]
    programs: tuple[str, ...]
    files: tuple[str, ...]
    devices: tuple[str, ...]


def find_driver(library_path: str, path: str) -> Optional[NvidiaDriver]:
    """The driver of this host, None where it has none.

    ``library_path`` and ``path`` are LD_LIBRARY_PATH and PATH; the linker's cache and the distributions'
    directories are looked at as well.
    """
    wanted = [part for part in library_path.split(":") if part.startswith("/")]
    places = dict.fromkeys(map(os.path.realpath, [*wanted, *_cached_directories(), *_DIRECTORIES]))
    directories = [place for place in places if any(_matching(place, _MAIN))]
    libraries: dict[str, str] = {}
    for place in directories:
        for file in _matching(place, (*_LIBRARIES, *_LOADERS)):
            libraries.setdefault(os.path.basename(file), file)
    if not libraries:
        return None
    devices = [*glob.glob("/dev/nvidia*"), *glob.glob("/dev/dxg")]
    return NvidiaDriver(
        libraries=tuple(libraries.values()),
        programs=tuple(_programs(path)),
        files=tuple(file for file in _FILES if os.path.isfile(file)),
        devices=tuple(sorted(devices)),
    )


def _cached_directories() -> Iterator[str]:
    """Where the linker's cache has the driver (ldconfig(8), -p)."""
    program = next((name for name in _LDCONFIG if os.access(name, os.X_OK)), None)
    if program is None:
        return
    try:
        listing = subprocess.run([program, "-p"], capture_output=True, timeout=_SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return  # the directories that are known remain
    for line in os.fsdecode(listing).splitlines():
        name, arrow, path = line.strip().partition(" => ")
        if arrow and name.startswith(("libcuda.so", "libnvidia-ml.so", "libnvidia-cfg.so")):
            yield os.path.dirname(path)


def _matching(directory: str, patterns: Iterable[str]) -> Iterator[str]:
    """The files of a directory for 64-bit programs, in the order of their names."""
    for pattern in patterns:
        for file in sorted(glob.glob(os.path.join(glob.escape(directory), pattern))):
            if os.path.isfile(file) and not _is_32_bit(file):
                yield file


def _is_32_bit(file: str) -> bool:
    try:
        with open(file, "rb") as stream:
            return stream.read(len(_ELF32)) == _ELF32
    except OSError:
        return True  # nobody could load it either


def _programs(path: str) -> Iterator[str]:
    directories = [*path.split(":"), "/usr/bin"]
    for name in _PROGRAMS:
        for directory in directories:
            file = os.path.join(directory, name)
            if directory.startswith("/") and os.access(file, os.X_OK) and os.path.isfile(file):
                yield file
                break
