"""A set of paths that stays small for millions of them."""

from __future__ import annotations

from array import array

_FIRST = 1 << 12
_WORD = (1 << 64) - 1


class PathSet:
    """Paths by their 64-bit hashes, in an open-addressed table: 12 to 24 bytes each, not 150.

    Two paths of one hash are taken for one; with millions of paths that has a chance of one in a million,
    and as the hash is seeded by each process (object.__hash__, PYTHONHASHSEED), nobody can arrange for it.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * _FIRST))
        self._mask = _FIRST - 1
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, path: bytes) -> bool:
        key = hash(path) & _WORD or 1
        return self._table[self._place(key)] == key

    def add(self, path: bytes) -> bool:
        """Add a path; returns whether it is new."""
        key = hash(path) & _WORD or 1  # 0 marks a free place
        place = self._place(key)
        if self._table[place] == key:
            return False
        self._table[place] = key
        self._count += 1
        if 3 * self._count > 2 * self._mask:
            self._grow()
        return True

    def _place(self, key: int) -> int:
        table, mask = self._table, self._mask
        place = key & mask
        while table[place] not in (0, key):
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        old = self._table
        self._table = array("Q", bytes(16 * len(old)))
        self._mask = len(self._table) - 1
        for key in old:
            if key:
                self._table[self._place(key)] = key
