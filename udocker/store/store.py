"""One UDOCKER_DIR as a whole."""

from __future__ import annotations

from udocker.config import Config
from udocker.store.containers import ContainerStore
from udocker.store.images import ImageStore
from udocker.store.layers import LayerStore
from udocker.store.paths import StorePaths
from udocker.store.timing import LockTiming
from udocker.system.files import discard_leftovers
from udocker.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from udocker.store.incoming import Incoming
    from udocker.store.lock import SharedLock


@dataclass(frozen=True)
class Store:
    """The parts of a store; nothing is made on disk before ``create``."""

    paths: StorePaths
    layers: LayerStore
    images: ImageStore
    containers: ContainerStore
    timing: LockTiming

    @classmethod
    def at(cls, config: Config) -> Store:
        """The store of this configuration."""
        paths = StorePaths(config.udocker_dir, config.workspace)
        layers = LayerStore(paths)
        timing = LockTiming(config.lock_beat, config.lock_stale, config.lock_wait)
        return cls(paths, layers, ImageStore(paths, layers), ContainerStore(paths), timing)

    def create(self) -> Store:
        """Make the store's directories where they are missing, and clear what the dead left behind.

        Raises StoreError.
        """
        self.paths.create()
        discard_leftovers(self.paths.tmp)
        return self

    @property
    def incoming(self) -> Incoming:
        """What brings blobs into the layer store."""
        from udocker.store.incoming import Incoming  # for pulls alone

        return Incoming(self.paths, self.layers, self.timing)

    def lock(self, key: str) -> SharedLock:
        """The lock of a key, across nodes."""
        from udocker.store.lock import SharedLock  # threads, and more that a warm start needs not

        return SharedLock(self.paths, key, self.timing)
