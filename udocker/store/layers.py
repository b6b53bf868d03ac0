"""Blobs by digest: layers and image configurations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable

from udocker.errors import StoreCorrupt, from_os_error
from udocker.model.digest import Digest
from udocker.model.manifest import Descriptor
from udocker.store.paths import StorePaths
from udocker.system.files import discard, sync_directory, unique_name

# Writes a blob into the file of this path, and returns only when it matches its descriptor.
Fetch = Callable[[Descriptor, Path], None]


class LayerStore:
    """The directory ``layers``: a file that is there is whole and was verified."""

    def __init__(self, paths: StorePaths) -> None:
        self._paths = paths

    def path(self, digest: Digest) -> Path:
        """Where the blob lies, or would."""
        return self._paths.layers / str(digest)

    def has(self, descriptor: Descriptor) -> bool:
        """Whether the blob is there, in its full size: a crash of the host or another program may cut it."""
        try:
            return self.path(descriptor.digest).stat().st_size == descriptor.size
        except FileNotFoundError:
            return False

    def add(self, descriptor: Descriptor, fetch: Fetch) -> bool:
        """Make sure that a blob is there; returns whether it had to be fetched.

        Two processes may fetch the same blob at once: each writes its own file, and the renames put the same
        verified content there.  Raises StoreError, and what ``fetch`` raises.
        """
        if self.has(descriptor):
            return False
        self._replace(descriptor, fetch)
        return True

    def _replace(self, descriptor: Descriptor, fetch: Fetch) -> None:
        target = self.path(descriptor.digest)
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
        os.rename(temporary, self.path(digest))
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
            raise StoreCorrupt(f"store: {digest}: {error.strerror}", "pull the image again") from error
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
