"""What a run has to know about the host."""

from __future__ import annotations

import os

from udocker.values import dataclass

# What every container shows of its host, as far as the host has it.
SYSTEM_DIRECTORIES = ("/proc", "/dev", "/sys")
SYSTEM_FILES = ("/etc/resolv.conf", "/etc/hosts")


# Drivers of direct rendering, by the libraries' places in the distributions.
GRAPHICS_DIRECTORIES = (
    "/usr/lib64/dri",
    "/lib64/dri",
    "/usr/lib/dri",
    "/lib/dri",
    "/usr/lib/x86_64-linux-gnu/dri",
    "/usr/lib/aarch64-linux-gnu/dri",
)


@dataclass(frozen=True)
class HostFacts:
    """Facts read once, so that planning a run is pure; ``paths`` are the system paths that exist.

    ``uid`` and ``gid`` are the caller's.
    """

    hostname: str
    terminal: bool
    paths: tuple[str, ...]
    uid: int = 0
    gid: int = 0

    @classmethod
    def read(cls) -> HostFacts:
        """Look at this host and at standard input."""
        paths = (*SYSTEM_DIRECTORIES, *SYSTEM_FILES)
        return cls(
            hostname=os.uname().nodename,
            terminal=os.isatty(0),
            paths=tuple(path for path in paths if os.path.exists(path)),
            uid=os.geteuid(),
            gid=os.getegid(),
        )
