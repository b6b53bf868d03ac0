"""A created container, as the store describes it."""

from __future__ import annotations

import os

from udocker.errors import UsageError
from udocker.model.imageconfig import ImageConfig, Platform
from udocker.system.files import is_directory
from udocker.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from typing import Optional


@dataclass(frozen=True)
class Container:
    """A container's directory holds ``ROOT`` and its metadata; ``image`` is the name it was made from.

    ``location`` is a root directory outside any container, with no metadata; then ``id`` is empty.
    """

    id: str
    directory: str
    image: str
    config: ImageConfig
    names: tuple[str, ...] = ()
    location: Optional[str] = None

    @classmethod
    def at_location(cls, cwd: str, location: str) -> Container:
        """The root directory ``location``, taken from ``cwd`` where it is relative; raises UsageError."""
        path = os.path.normpath(os.path.join(cwd, location))
        if "\0" in location or not is_directory(path):
            raise UsageError(f"run: --location {location!r}: not a directory")
        config = ImageConfig(document={}, platform=Platform("unknown", "unknown"))
        return cls("", path, "", config, location=path)

    @property
    def root(self) -> str:
        """The container's root file system on the host."""
        return self.location or os.path.join(self.directory, "ROOT")
