"""Bytes as a row of choices: whatever bytes a fuzzer comes up with are a valid structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Takes choices from the front of ``data``; at its end everything is the first or the least."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def bytes(self, count: int) -> bytes:
        """Up to ``count`` bytes as they are."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def number(self, below: int) -> int:
        """A number from 0 up to, but not including, ``below``."""
        width = max(1, ((below - 1).bit_length() + 7) // 8)
        return int.from_bytes(self.bytes(width), "big") % below

    def pick(self, options: Sequence[T]) -> T:
        """One of ``options``."""
        return options[self.number(len(options))]

    def often(self, chances: int = 2) -> bool:
        """True in one of so many cases."""
        return self.number(chances) == 1
