"""Where everything lies below UDOCKER_DIR: the directory format of udocker 1.3, and ours beside it.

::

    layers/<digest>                  blobs: layers and image configurations
    repos/<name>/<tag or digest>/    TAG, v2, manifest, links to the blobs
    containers/<id>/                 ROOT, container.json, imagerepo.name
    containers/<name>                link to a container's directory
    bin/ lib/ doc/                   made so that udocker 1.3 takes the directory for its own
    tmp/                             what is being made; nothing else ever looks in here
    tmp/partial/                     what has come of a blob; the next pull of it goes on from there
    locks/                           who makes it: blob-<hex> while a blob comes; claims/ and nodes/ in it
                                     tell whether they live
    runs/<id>/                       programs that run in the background, or with --rm, and their output
    batch/                           jobs and their records
"""

from __future__ import annotations

import os

from udocker.errors import StoreError, from_os_error
from udocker.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from pathlib import Path

_ATTEMPTS = 100


@dataclass(frozen=True)
class StorePaths:
    """The directories of one store; ``workspace`` is a directory in ``tmp`` to make things in."""

    root: str
    workspace: str = ""

    @property
    def layers(self) -> Path:
        """Blobs by digest."""
        return self._below("layers")

    @property
    def repos(self) -> Path:
        """Images by name and tag."""
        return self._below("repos")

    @property
    def containers(self) -> Path:
        """Containers by id, and links to them by name."""
        return self._below("containers")

    @property
    def tmp(self) -> Path:
        """What is being made."""
        return self._below("tmp", self.workspace)

    @property
    def scratch(self) -> Path:
        """The directory ``tmp`` itself, whatever the workspace."""
        return self._below("tmp")

    @property
    def partial(self) -> Path:
        """Blobs that have come in part, kept for the next pull."""
        return self.scratch / "partial"

    @property
    def claims(self) -> Path:
        """Which blobs are about to become an image's, by who makes it."""
        return self.locks / "claims"

    @property
    def nodes(self) -> Path:
        """The machines, by boot, whose processes have made things here."""
        return self.locks / "nodes"

    @property
    def runs(self) -> Path:
        """What is known of runs, by the container's id."""
        return self._below("runs")

    @property
    def locks(self) -> Path:
        """Locks by key."""
        return self._below("locks")

    def require(self, act: str) -> None:
        """Raise StoreError where the directory is not a store already."""
        if not all(path.is_dir() for path in (self.repos, self.layers, self.containers)):
            raise StoreError(f"{act}: {self.root}: not a store", f"udocker mkrepo {self.root}")

    def create(self) -> None:
        """Make the directories that are missing; raises StoreError.

        A new UDOCKER_DIR is private.  Everything below an existing one gets its permissions, so that
        ``chmod 2770`` on it makes a store that a group shares.
        """
        try:
            if not self._below().is_dir():
                self._below().mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("layers", "repos", "containers", "bin", "lib", "doc", "locks"):
                self.make(self._below(name))
            self.make(self.tmp)
        except OSError as error:
            raise from_os_error("store", error, self.root) from error

    def require_writable(self) -> None:
        """Raise StoreError where nothing could be made in the store; makes nothing."""
        import errno  # for failures alone

        place = self._below()
        while not os.path.lexists(place) and place != place.parent:
            place = place.parent
        number = 0 if place.is_dir() else errno.ENOTDIR
        if number == 0 and not os.access(place, os.W_OK | os.X_OK):
            number = errno.EROFS if os.statvfs(place).f_flag & os.ST_RDONLY else errno.EACCES
        if number:
            raise from_os_error("store", OSError(number, os.strerror(number)), self.root)

    def make(self, directory: Path) -> None:
        """Make a directory below the root with the root's permissions and all of its owner's; its parents."""
        if directory.is_dir():
            return
        for attempt in range(_ATTEMPTS):
            if directory != self._below():
                self.make(directory.parent)
            try:
                directory.mkdir()
                os.chmod(directory, os.stat(self.root).st_mode & 0o2777 | 0o700)
            except FileExistsError:
                pass
            except FileNotFoundError:
                # It, or its parent, was empty, and somebody who cleans up was faster.
                if directory == self._below() or attempt == _ATTEMPTS - 1:
                    raise
                continue
            return

    @property
    def file_mode(self) -> int:
        """Permissions of a metadata file: the root's, without execution; its owner can always write it."""
        return os.stat(self.root).st_mode & 0o666 | 0o600

    def _below(self, *names: str) -> Path:
        from pathlib import Path  # who runs a container that is there does without: see ContainerNames

        return Path(self.root, *names)
