"""What a run has to know about the host."""

from __future__ import annotations

import os
from dataclasses import dataclass

# What every container shows of its host, as far as the host has it.
SYSTEM_DIRECTORIES = ("/proc", "/dev", "/sys")
SYSTEM_FILES = ("/etc/resolv.conf", "/etc/hosts")


@dataclass(frozen=True)
class HostFacts:
    """Facts read once, so that planning a run is pure; ``paths`` are the system paths that exist."""

    hostname: str
    terminal: bool
    paths: tuple[str, ...]

    @classmethod
    def read(cls) -> HostFacts:
        """Look at this host and at standard input."""
        paths = (*SYSTEM_DIRECTORIES, *SYSTEM_FILES)
        return cls(
            hostname=os.uname().nodename,
            terminal=os.isatty(0),
            paths=tuple(path for path in paths if os.path.exists(path)),
        )
