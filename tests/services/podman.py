"""podman with images of its own, without a daemon and without containers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.needs import need_command, need_root
from tests.services.sharing import session_directory


@dataclass(frozen=True)
class Podman:
    """Its commands, as root over a storage that nobody else uses."""

    command: tuple[str, ...]

    def __call__(self, *arguments: str, cwd: Path) -> bytes:
        """Run it; what it printed."""
        result = subprocess.run(
            [*self.command, *arguments], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        assert result.returncode == 0, (arguments, result)
        return result.stdout

    def inspect(self, image: str, cwd: Path) -> dict[str, Any]:
        """What it knows of an image."""
        found: list[dict[str, Any]] = json.loads(self("image", "inspect", image, cwd=cwd))
        return found[0]


@contextmanager
def private_podman() -> Iterator[Podman]:
    need_root()  # without it podman needs ranges of user ids, which test users have not
    program = need_command("podman", "podman")
    with session_directory("podman", mode=0o700) as directory:
        places = (f"--root={directory}/root", f"--runroot={directory}/run", f"--tmpdir={directory}/tmp")
        drivers = ("--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none")
        yield Podman((program, *places, *drivers))
