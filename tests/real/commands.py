"""udocker's commands as a user types them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.services.users import User


@dataclass(frozen=True)
class Commands:
    """udocker as a user calls it, over a store of its own."""

    user: User
    programs: Path
    store: Path

    def __call__(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        env = {"UDOCKER_DIR": str(self.store), "UDOCKER_REGISTRY_RETRIES": "2", **options.pop("env", {})}
        return self.user.run([self.programs / "udocker", *arguments], env=env, **options)

    def good(self, *arguments: str, **options: Any) -> str:
        """A command that succeeds; what it printed."""
        return self(*arguments, check=True, **options).stdout

    def bad(self, *arguments: str, **options: Any) -> str:
        """A command that fails as ours do: status 125, one line and perhaps a hint, nothing on stdout."""
        result = self(*arguments, **options)
        assert result.returncode == 125, result
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert lines[-1].startswith(("udocker: ", "  hint: ")), result.stderr
        failure = [line for line in lines if not line.startswith("  hint: ")][-1]
        assert failure.startswith("udocker: "), result.stderr
        assert "Traceback" not in result.stderr
        return result.stderr


def unfinished(store: Path) -> list[Path]:
    """What lies below a store's ``tmp``, but for the directory of blobs that are coming while it is empty."""
    return [path for path in (store / "tmp").rglob("*") if path != store / "tmp" / "partial"]
