"""One UDOCKER_DIR as a whole."""

from __future__ import annotations

from collections.abc import Sequence

from udocker.config import Config
from udocker.errors import from_os_error
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
        """The store of this configuration, over those of others that it names."""
        timing = LockTiming(config.lock_beat, config.lock_stale, config.lock_wait)
        lower = [cls._over(StorePaths(path), timing, ()) for path in config.lower]
        return cls._over(StorePaths(config.udocker_dir, config.workspace), timing, lower)

    @classmethod
    def _over(cls, paths: StorePaths, timing: LockTiming, lower: Sequence[Store]) -> Store:
        layers = LayerStore(paths, timing, [store.layers for store in lower])
        images = ImageStore(paths, layers, timing, [store.images for store in lower])
        containers = ContainerStore(paths, timing, [store.containers for store in lower])
        return cls(paths, layers, images, containers, timing)

    def create(self) -> Store:
        """Make the store's directories where they are missing, and clear what the dead left behind.

        Raises StoreError.
        """
        from udocker.store.nodes import record_node

        self.paths.create()
        try:
            record_node(self.paths)
        except OSError as error:
            raise from_os_error("store", error, str(self.paths.nodes)) from error
        discard_leftovers(self.paths.tmp)
        return self

    @property
    def incoming(self) -> Incoming:
        """What brings blobs into the layer store."""
        from udocker.store.incoming import Incoming  # for pulls alone

        return Incoming(self.paths, self.layers, self.timing)

    def lock(self, key: str) -> SharedLock:
        """The lock of a key, across nodes."""
        from udocker.store.lock import SharedLock  # not for those who find everything here

        return SharedLock(self.paths, key, self.timing)
