"""The links of an image's directory to its blobs, which keep these from being removed with another image."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from udocker.errors import from_os_error
from udocker.model.digest import Digest
from udocker.store.layers import LayerStore
from udocker.store.paths import StorePaths


class ImageLinks:
    """The links below ``repos``."""

    def __init__(self, paths: StorePaths, layers: LayerStore) -> None:
        self._paths = paths
        self._layers = layers

    def make(self, directory: Path, digest: Digest) -> None:
        """Link an image to a blob, which need not be there; raises OSError."""
        if self.leads(directory, digest):
            return
        target = str(self._layers.path(digest))
        if self._layers.is_own(digest):  # relative, as udocker 1.3 has it: the store can be moved
            target = os.path.relpath(target, directory)
        (directory / str(digest)).unlink(missing_ok=True)
        os.symlink(target, directory / str(digest))

    def leads(self, directory: Path, digest: Digest) -> bool:
        """Whether the image's link leads to the blob, which need not be there."""
        try:
            target = os.readlink(directory / str(digest))
        except OSError:
            return False
        target = os.path.join(os.path.realpath(directory), target)
        return os.path.realpath(target) == os.path.realpath(self._layers.path(digest))

    def targets(self, directory: Path, keep: set[str]) -> dict[str, str]:
        """The links of an image that are not to be kept, and the blobs of this store that they lead to.

        The name of a blob is empty for one of another store.  Raises OSError.
        """
        links = [entry for entry in os.scandir(directory) if entry.is_symlink() and entry.name not in keep]
        found = {}
        for link in links:
            place, name = os.path.split(os.path.join(directory, os.readlink(link.path)))
            is_own = os.path.normpath(place) == str(self._paths.layers)
            found[link.name] = name if is_own else ""
        return found

    def linked(self) -> set[str]:
        """The names of the blobs that images link to; raises StoreError."""
        found: set[str] = set()
        for directory, names, files in os.walk(self._paths.repos, onerror=refuse_unreadable):
            for name in (*names, *files):
                try:
                    target = os.readlink(os.path.join(directory, name))
                except FileNotFoundError:
                    continue  # removed since the directory was read
                except OSError as error:
                    if error.errno == errno.EINVAL:
                        continue  # no link: readlink(2)
                    # What cannot be read may be the last link to a blob, which would then be removed.
                    raise from_os_error("images", error, os.path.join(directory, name)) from error
                found.update((name, os.path.basename(target)))
        return found


def refuse_unreadable(error: OSError) -> None:
    """What os.walk does with a directory that cannot be read: raises StoreError."""
    if not isinstance(error, FileNotFoundError):  # a store that is not made yet has no images
        raise from_os_error("images", error, str(error.filename)) from error
