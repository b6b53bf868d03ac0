"""A created container, as the store describes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from udocker.model.manifest import ImageConfig


@dataclass(frozen=True)
class Container:
    """A container's directory holds ``ROOT`` and its metadata; ``image`` is the name it was made from."""

    id: str
    directory: Path
    image: str
    config: ImageConfig
    names: tuple[str, ...] = ()

    @property
    def root(self) -> Path:
        """The container's root file system on the host."""
        return self.directory / "ROOT"
