"""A user at work on a cluster: the commands, a directory that the nodes share, a store in it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.registry import Registry
from tests.services.users import User


@dataclass(frozen=True)
class Desk:
    """A user at work: the commands, a directory that the nodes share, a store in it."""

    user: User
    programs: Path
    directory: Path
    environment: dict[str, str]

    @property
    def store(self) -> Path:
        return Path(self.environment["UDOCKER_DIR"])

    def call(self, command: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        env = {**self.environment, **options.pop("env", {})}
        options.setdefault("cwd", self.directory)
        return self.user.run([self.programs / command, *arguments], env=env, **options)

    def batch(self, *arguments: str, **options: Any) -> str:
        """udocker-batch, which must succeed; what it printed."""
        return self.call("udocker-batch", *arguments, check=True, **options).stdout

    def sbatch(self, image: str, *arguments: str, options: tuple[str, ...] = ()) -> str:
        """Submit by udocker-sbatch; the job's id."""
        words = ["--parsable", *options, "--image", image, "--", *arguments]
        return self.call("udocker-sbatch", *words, check=True).stdout.strip()

    def bad(self, command: str, *arguments: str, **options: Any) -> str:
        """A call that fails as ours do."""
        result = self.call(command, *arguments, **options)
        assert result.returncode == 125, result
        assert "Traceback" not in result.stderr
        assert result.stderr.splitlines()[-1].startswith((f"{command}: ", "  hint: "))
        return result.stderr

    def records(self, job: str, scheduler: str = "slurm") -> list[dict[str, Any]]:
        tasks = self.store / "batch" / "jobs" / f"{scheduler}-{job}" / "tasks"
        return [json.loads(path.read_bytes()) for path in sorted(tasks.glob("*.json"))]


def make_desk(user: User, programs: Path, directory: Path, store: Path, registry: Registry) -> Desk:
    directory.mkdir(exist_ok=True)
    os.chown(directory, user.uid, user.gid)
    environment = {
        "UDOCKER_DIR": str(store),
        "UDOCKER_INSECURE_REGISTRIES": registry.host,
        "UDOCKER_LOCK_BEAT": "0.5",
        "UDOCKER_LOCK_STALE": "8",
    }
    return Desk(user, programs, directory, environment)
