"""Content digests (OCI image specification, descriptor.md, section Digests)."""

from __future__ import annotations

import re

from udocker.errors import UsageError
from udocker.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    import hashlib

# Algorithms this package can verify, with the length of their hexadecimal form.
LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[a-f0-9]+")


@dataclass(frozen=True, order=True)
class Digest:
    """``algorithm:hex``, of an algorithm that can be verified."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read ``sha256:…``; raises UsageError for anything that cannot be verified."""
        algorithm, _, hexadecimal = text.partition(":")
        if LENGTHS.get(algorithm) != len(hexadecimal) or not _HEX.fullmatch(hexadecimal):
            raise UsageError(f"digest: {text!r}: not a sha256 or sha512 digest")
        return cls(algorithm, hexadecimal)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """The sha256 digest of ``data``."""
        return cls("sha256", _new("sha256", data).hexdigest())

    def hasher(self) -> hashlib._Hash:
        """A new hash object of this digest's algorithm."""
        return _new(self.algorithm)

    def matches(self, data: bytes) -> bool:
        """Whether ``data`` has this digest."""
        return _new(self.algorithm, data).hexdigest() == self.hex

    @property
    def short(self) -> str:
        """The first twelve hexadecimal digits, as docker prints them."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def _new(algorithm: str, data: bytes = b"") -> hashlib._Hash:
    import hashlib  # OpenSSL, which a container that is there starts without

    return hashlib.new(algorithm, data)
