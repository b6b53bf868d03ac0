"""Blobs by digest: layers and image configurations."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Callable, Optional

from udocker.errors import StoreCorrupt, from_os_error, unreadable
from udocker.model.digest import Digest
from udocker.model.manifest import Descriptor
from udocker.store.claims import claimed, claims
from udocker.store.paths import StorePaths
from udocker.store.timing import DEFAULT_TIMING, LockTiming
from udocker.system.files import discard, sync_directory, unique_name
from udocker.system.process import is_mark_of_dead

# Writes a blob into the file of this path, and returns only when it matches its descriptor.
Fetch = Callable[[Descriptor, Path], None]
# What the locks of blobs begin with.
LOCKS = "blob-"


class LayerStore:
    """The directory ``layers``: a file that is there is whole and was verified.

    What is missing is looked for in ``lower`` stores, in their order, which are only read.
    """

    def __init__(
        self, paths: StorePaths, timing: LockTiming = DEFAULT_TIMING, lower: Sequence[LayerStore] = ()
    ) -> None:
        self._paths = paths
        self._timing = timing
        self._lower = tuple(lower)

    def path(self, digest: Digest) -> Path:
        """Where the blob lies, or would: a lower store's where that one alone has it."""
        own = self._paths.layers / str(digest)
        if not self._lower or own.exists():
            return own
        return next((path for path in (lower.path(digest) for lower in self._lower) if path.exists()), own)

    def is_own(self, digest: Digest) -> bool:
        """Whether the blob lies in this store, or would."""
        return self.path(digest).parent == self._paths.layers

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there, in its full size: a crash of the host or another program may cut it."""
        try:
            return self.path(descriptor.digest).stat().st_size == descriptor.size
        except FileNotFoundError:
            return False

    def add(self, descriptor: Descriptor, fetch: Fetch) -> bool:
        """Make sure that a blob is there; returns whether it had to be fetched.

        Of those who need the same blob one fetches it and the others wait.  That only saves work: each writes
        a file of its own, and the renames put the same verified content there.  Raises StoreError, and what
        ``fetch`` raises.
        """
        from udocker.store.lock import SharedLock  # not for those who find everything here

        lock = SharedLock(self._paths, f"{LOCKS}{descriptor.digest.hex}", self._timing)
        with lock.passing(lambda: self.has(descriptor)) as held:
            if not held or self.has(descriptor):
                return False
            self._replace(descriptor, fetch)
            return True

    def claimed(self, digests: Iterable[Digest]) -> AbstractContextManager[None]:
        """Keep blobs, those that are here and those that will be, from being removed for the block."""
        return claimed(self._paths, map(str, digests))

    def remove(
        self,
        names: Iterable[str],
        used: Callable[[], set[str]],
        wanted: Optional[Callable[[], set[str]]] = None,
    ) -> list[str]:
        """Remove blobs that nobody needs: neither ``used()`` names them nor ``wanted()``.

        The latter are claimed ones, if not told otherwise.  Returns the names of those that are gone.
        Raises OSError.
        """
        wanted = wanted or self.wanted
        removed = []
        for name in sorted(set(names) - {""} - used() - wanted()):
            aside = self._paths.scratch / unique_name("blob-")
            try:
                os.rename(self._paths.layers / name, aside)
            except FileNotFoundError:
                continue
            # Who claimed it before it was out of sight has taken it for present.
            if name in used() or name in wanted():
                os.rename(aside, self._paths.layers / name)
                continue
            aside.unlink(missing_ok=True)
            removed.append(name)
        return removed

    def wanted(self) -> set[str]:
        """What those need who are not known to be dead."""
        living = (item for item in claims(self._paths) if item.keeps and not is_mark_of_dead(item.maker))
        return {digest for claim in living for digest in claim.digests}

    def _replace(self, descriptor: Descriptor, fetch: Fetch) -> None:
        target = self._paths.layers / str(descriptor.digest)
        temporary = self._paths.tmp / unique_name(f"blob-{descriptor.digest.short}-")
        try:
            fetch(descriptor, temporary)
            self.publish(descriptor.digest, temporary)
        except OSError as error:
            raise from_os_error("store", error, str(target)) from error
        finally:
            discard(temporary)

    def publish(self, digest: Digest, temporary: Path) -> None:
        """Move a file that is whole and verified to its place, durably; raises OSError."""
        os.chmod(temporary, self._paths.file_mode)
        _sync(temporary)
        os.rename(temporary, self._paths.layers / str(digest))
        sync_directory(self._paths.layers)

    def add_bytes(self, digest: Digest, data: bytes) -> None:
        """Store a small blob that is in memory; raises StoreCorrupt where it does not match its digest."""
        if not digest.matches(data):
            raise StoreCorrupt(f"store: {digest}: the content has another digest")
        try:
            self.read(digest)
        except StoreCorrupt:  # missing or damaged: either way this is what belongs there
            self._replace(Descriptor("", digest, len(data)), lambda _, path: _write(path, data))

    def read(self, digest: Digest) -> bytes:
        """A small blob, verified again; raises StoreCorrupt."""
        try:
            data = self.path(digest).read_bytes()
        except OSError as error:
            raise unreadable(f"store: {digest}", error, "pull the image again") from error
        if not digest.matches(data):
            raise StoreCorrupt(f"store: {digest}: the file's content has changed", "pull the image again")
        return data


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
