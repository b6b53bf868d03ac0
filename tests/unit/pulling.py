"""``udocker pull`` as a user types it, in this process, from a registry that fails on order."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.services.faulty_registry import FaultyRegistry
from tests.services.images import ImageBuilder, file
from udocker.cli.main import main

SETTINGS = {"UDOCKER_REGISTRY_RETRIES": "0", "UDOCKER_REGISTRY_TIMEOUT": "1"}


@dataclass(frozen=True)
class Outcome:
    """How a command ended; ``log`` are its messages, which pytest catches on their way to ``err``."""

    status: int
    out: str
    err: str
    log: str


@dataclass
class Puller:
    """The command over a store of the test's own."""

    directory: Path
    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]
    caplog: pytest.LogCaptureFixture
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.directory / "store"

    def __call__(self, *arguments: str) -> Outcome:
        environ = {"HOME": str(self.directory), "UDOCKER_DIR": str(self.store), **SETTINGS, **self.settings}
        for name, value in environ.items():
            self.monkeypatch.setenv(name, value)
        self.caplog.clear()
        status = main(list(arguments))
        captured = self.capfd.readouterr()
        return Outcome(status, captured.out, captured.err, self.caplog.text)

    def good(self, *arguments: str) -> str:
        outcome = self("pull", *arguments)
        assert outcome.status == 0, outcome
        return outcome.err + outcome.log

    def bad(self, *arguments: str) -> str:
        """A failure as ours are: one line, perhaps a hint, status 125, and nothing left in the store."""
        outcome = self("pull", *arguments)
        assert (outcome.status, outcome.out) == (125, ""), outcome
        lines = [line for line in outcome.err.splitlines() if line.startswith("udocker: ")]
        assert len(lines) == 1, outcome
        assert "Traceback" not in outcome.err
        left = self.leftovers()
        assert left == [], left
        return lines[0]

    def leftovers(self) -> list[str]:
        """What is in the store besides whole images."""
        found = [path for place in ("tmp", "locks", "repos") for path in (self.store / place).rglob("*")]
        # Notes for repair: of nodes that used the store, and of what a failed command meant to have.
        notes = ("nodes", "claims")
        names = [str(path.relative_to(self.store)) for path in found if path.parent.name not in notes]
        return sorted({*names} - {"tmp/partial", "locks/claims", "locks/nodes"})

    def leftovers_of_pull(self) -> list[str]:
        """The same, after a pull that succeeded."""
        return [name for name in self.leftovers() if not name.startswith("repos/")]

    @property
    def partials(self) -> Path:
        return self.store / "tmp" / "partial"


def image_of(
    registry: FaultyRegistry, *contents: bytes, name: str = "team/app", **options: Any
) -> ImageBuilder:
    """Put an image with a layer for each of ``contents`` here, with the tag 1."""
    builder = ImageBuilder()
    layers = [
        builder.layer([file(f"file{number}", data)], "plain", **options)
        for number, data in enumerate(contents)
    ]
    registry.add(builder, name, "1", builder.image(layers))
    return builder
