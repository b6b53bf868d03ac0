"""What is seen of a lock from outside: the generations in its directory, and whether their holders live."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Collection
from pathlib import Path
from typing import Optional

from udocker.system.process import ProcessIdentity

_GENERATION = re.compile(r"g(\d+)")


def names_in(directory: Path) -> frozenset[str]:
    """The names in a lock's directory, none where there is no lock."""
    try:
        return frozenset(os.listdir(directory))
    except FileNotFoundError:
        return frozenset()


def newest_of(names: Collection[str]) -> int:
    """The highest generation among names, 0 before the first."""
    matches = (_GENERATION.fullmatch(name) for name in names)
    return max((int(match[1]) for match in matches if match), default=0)


def is_free(names: Collection[str]) -> bool:
    """Whether a directory of these names tells that nobody holds the lock; it may be that a dead one does."""
    generation = newest_of(names)
    return generation == 0 or released(generation) in names


def released(generation: int) -> str:
    """The name of the file that ends a generation."""
    return f"g{generation}.released"


class Watch:
    """One waiter's view of a holder: what it last read, and since when by its own clock."""

    def __init__(self, directory: Path, stale: float) -> None:
        self._directory = directory
        self._stale = stale
        self._seen: tuple[int, bytes] = (-1, b"")
        self._since = 0.0
        self._judged = b""
        self._first: dict[int, tuple[int, bytes]] = {}

    def is_dead(self, generation: int, names: Collection[str]) -> bool:
        """Whether the holder is dead; ``names`` are those in the lock's directory."""
        text = self.read(f"g{generation}")
        self._judged = text
        holder = _identity(text)
        known = holder.is_dead() if holder is not None else None
        if known is not None:
            self._seen = (-1, b"")
            return known
        beat = f"g{generation}.beat"
        # With the holder's name: one that comes after a lock was dissolved has the same number and count.
        seen = (generation, text + (self.read(beat) if beat in names else b""))
        now = time.monotonic()
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since > self._stale

    def has_ended(self, generation: int, names: Collection[str]) -> bool:
        """Whether a generation is still the one that ``is_dead`` has judged, or has been released."""
        name = f"g{generation}"
        return name in names and (released(generation) in names or self.read(name) == self._judged)

    def lives(self, generation: int) -> bool:
        """Whether the holder is known to live: it is of this node, or has been seen to raise its count."""
        holder = self._holder(generation)
        if holder is not None and holder.is_dead() is False:
            return True
        first = self._first.setdefault(generation, self._seen)
        return first != self._seen

    def describe(self, generation: int) -> str:
        """The holder, for people."""
        holder = self._holder(generation)
        return f"process {holder.pid} on {holder.host}" if holder else f"generation {generation}"

    def _holder(self, generation: int) -> Optional[ProcessIdentity]:
        return _identity(self.read(f"g{generation}"))

    def read(self, name: str) -> bytes:
        """What a file of the lock holds, nothing where there is none."""
        # Opening anew each time is what makes an NFS client ask the server (nfs(5), close-to-open).
        try:
            return (self._directory / name).read_bytes()
        except FileNotFoundError:
            return b""


def _identity(text: bytes) -> Optional[ProcessIdentity]:
    try:
        return ProcessIdentity.from_json(json.loads(text or b"null"))
    except ValueError:
        return None
