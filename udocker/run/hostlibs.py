"""Libraries of the host that are shown in the container because they belong to its kernel: the GPU's.

They are bound at each run, never copied: a container that many nodes share gets each node's own driver.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from udocker.engine.base import Process
from udocker.model.mount import Mount
from udocker.system.nvidia import NvidiaDriver, find_driver

# Where images made for NVIDIA's own container tools look: their LD_LIBRARY_PATH and PATH name these.
_TOP = "/usr/local/nvidia"
_LIBRARIES, _PROGRAMS = f"{_TOP}/lib64", f"{_TOP}/bin"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Addition:
    """A directory that a search path must have."""

    variable: str
    directory: str


_ADDITIONS = (_Addition("LD_LIBRARY_PATH", _LIBRARIES), _Addition("PATH", _PROGRAMS))


def with_nvidia(process: Process, environ: Mapping[str, str], system: bool) -> Process:
    """The process with this host's NVIDIA driver; without one, as it is, and a line says so.

    With ``system`` the devices are there with all of /dev.
    """
    driver = find_driver(environ.get("LD_LIBRARY_PATH", ""), environ.get("PATH", ""))
    if driver is None:
        _LOG.warning("run: --nvidia: this host has no NVIDIA driver: running without")
        return process
    taken = {mount.target for mount in process.mounts}
    mounts = [mount for mount in _mounts(driver, system) if mount.target not in taken]
    env = dict(process.env)
    for addition in _ADDITIONS:
        env[addition.variable] = _extended(env.get(addition.variable, ""), addition.directory)
    return replace(process, env=env, scratch=(*process.scratch, _TOP), mounts=(*process.mounts, *mounts))


def _mounts(driver: NvidiaDriver, system: bool) -> Iterator[Mount]:
    for file in driver.libraries:
        yield Mount(os.path.realpath(file), f"{_LIBRARIES}/{os.path.basename(file)}", read_only=True)
    for file in driver.programs:
        yield Mount(os.path.realpath(file), f"{_PROGRAMS}/{os.path.basename(file)}", read_only=True)
    for file in driver.files:
        yield Mount(os.path.realpath(file), file, read_only=True)
    for device in () if system else driver.devices:
        yield Mount(device, device)


def _extended(path: str, directory: str) -> str:
    """The search path with the directory first: a library that somebody copied into the image is of another
    driver."""
    rest = [part for part in path.split(":") if part and part != directory]
    return ":".join([directory, *rest])
