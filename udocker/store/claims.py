"""Which blobs are about to become an image's.

Between the moment when a blob is in the store and the one when an image links to it nothing else would keep
it.  Whoever makes an image therefore writes its digests down first, in a file ``locks/claims/<unique name>``.
Where the maker dies or fails the file stays: it tells ``udocker repair`` which blobs nobody waits for, and
goes with the next image of the same blobs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from udocker.errors import from_os_error
from udocker.store.paths import StorePaths
from udocker.system.files import maker_of, unique_name, write_atomically
from udocker.system.process import is_mark_of_dead
from udocker.values import dataclass

_NEEDED, _DROPPED = "claim-", "drop-"


@dataclass(frozen=True)
class Claim:
    """The blobs that one process needs, or is about to remove; ``maker`` is its mark."""

    path: Path
    maker: str
    digests: frozenset[str]

    @property
    def keeps(self) -> bool:
        """Whether the blobs are needed."""
        return self.path.name.startswith(_NEEDED)


@contextmanager
def claimed(paths: StorePaths, digests: Iterable[str]) -> Iterator[None]:
    """Keep blobs from being removed for the block; raises StoreError."""
    with _noted(paths, _NEEDED, frozenset(digests)):
        yield


@contextmanager
def dropping(paths: StorePaths, names: Iterable[str]) -> Iterator[None]:
    """Note blobs that are about to lose their image: ``repair`` finishes what is cut short."""
    with _noted(paths, _DROPPED, frozenset(names)):
        yield


@contextmanager
def _noted(paths: StorePaths, kind: str, names: frozenset[str]) -> Iterator[None]:
    path = paths.claims / unique_name(kind)
    try:
        paths.make(paths.claims)
        write_atomically(path, os.fsencode("\n".join(sorted(names))), paths.file_mode)
        for claim in claims(paths):
            if claim.digests <= names and is_mark_of_dead(claim.maker):
                claim.path.unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error("store", error, str(path)) from error
    yield
    path.unlink(missing_ok=True)


def claims(paths: StorePaths) -> list[Claim]:
    """The claims of all processes, dead or alive; raises OSError."""
    found = []
    try:
        entries = sorted(paths.claims.iterdir())
    except FileNotFoundError:
        return []
    for path in entries:
        maker = maker_of(path.name)
        if not maker or path.name.startswith("."):
            continue
        try:
            digests = os.fsdecode(path.read_bytes()).split("\n")
        except FileNotFoundError:
            continue  # its maker has finished
        found.append(Claim(path, maker, frozenset(digests)))
    return found
