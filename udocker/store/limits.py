"""How much an archive may ask for before it is refused."""

from __future__ import annotations

from udocker.config import Config
from udocker.errors import UnpackError
from udocker.values import dataclass


@dataclass(frozen=True)
class Limits:
    """What an image, or an archive of images, may hold; sizes are in bytes.

    ``files`` counts the members of all layers, those that only describe others included, ``size`` the bytes
    of all layers without their compression, ``depth`` the directories that a path leads through, ``name`` its
    length, ``ratio`` how many bytes may come out of a compressed one, once ``ratio_from`` have come out.
    """

    files: int = Config.max_files
    size: int = Config.max_bytes
    depth: int = Config.max_depth
    name: int = Config.max_name
    ratio: int = Config.max_ratio
    ratio_from: int = 1 << 30

    @classmethod
    def of(cls, config: Config) -> Limits:
        """The limits that are set."""
        return cls(config.max_files, config.max_bytes, config.max_depth, config.max_name, config.max_ratio)

    def check_ratio(self, compressed: int, plain: int) -> None:
        """Raises UnpackError where too much came out of too little."""
        if plain > self.ratio_from and plain > self.ratio * compressed:
            raise beyond(f"compressed data: more than {self.ratio} times its size when unpacked", "RATIO")


class Budget:
    """What is left of the limits while the layers of one image are read."""

    def __init__(self, limits: Limits, act: str = "unpack") -> None:
        self.limits = limits
        self.act = act
        self._files = limits.files
        self._size = limits.size

    def spend(self, size: int) -> None:
        """Count a member and its ``size``; raises UnpackError where that is more than there may be."""
        self._files -= 1
        self._size -= size
        if self._files < 0:
            raise beyond(f"more than {self.limits.files} members", "FILES", self.act)
        if self._size < 0:
            raise beyond(f"more than {self.limits.size} bytes when unpacked", "BYTES", self.act)


def beyond(cause: str, setting: str, act: str = "unpack") -> UnpackError:
    """The error for a limit that is passed, with the setting that raises it."""
    return UnpackError(f"{act}: {cause}", f"if you trust the image, set UDOCKER_MAX_{setting} higher")
