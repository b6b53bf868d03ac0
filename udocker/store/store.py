"""One UDOCKER_DIR as a whole."""

from __future__ import annotations

from functools import cached_property

from udocker.config import Config
from udocker.errors import from_os_error
from udocker.store.containers import ContainerStore
from udocker.store.paths import StorePaths
from udocker.store.timing import LockTiming
from udocker.system.files import discard_leftovers
from udocker.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from udocker.store.images import ImageStore
    from udocker.store.incoming import Incoming
    from udocker.store.layers import LayerStore
    from udocker.store.lock import SharedLock
    from udocker.store.runs import RunStore


@dataclass(frozen=True)
class Store:
    """The parts of a store, over ``lower`` ones; nothing is made on disk before ``create``."""

    paths: StorePaths
    timing: LockTiming
    lower: tuple[Store, ...] = ()

    @classmethod
    def at(cls, config: Config) -> Store:
        """The store of this configuration, over those of others that it names."""
        timing = LockTiming(config.lock_beat, config.lock_stale, config.lock_wait)
        lower = tuple(cls(StorePaths(path), timing) for path in config.lower)
        return cls(StorePaths(config.udocker_dir, config.workspace), timing, lower)

    @cached_property
    def containers(self) -> ContainerStore:
        """The containers."""
        return ContainerStore(self.paths, self.timing, [store.containers for store in self.lower])

    @cached_property
    def images(self) -> ImageStore:
        """The images."""
        from udocker.store.images import ImageStore  # a container that is there starts without

        return ImageStore(self.paths, self.layers, self.timing, [store.images for store in self.lower])

    @cached_property
    def layers(self) -> LayerStore:
        """The blobs of images."""
        from udocker.store.layers import LayerStore  # likewise

        return LayerStore(self.paths, self.timing, [store.layers for store in self.lower])

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
    def runs(self) -> RunStore:
        """The runs that somebody waits for."""
        from udocker.store.runs import RunStore  # not for those who become the program

        return RunStore(self.paths)

    @property
    def incoming(self) -> Incoming:
        """What brings blobs into the layer store."""
        from udocker.store.incoming import Incoming  # for pulls alone

        return Incoming(self.paths, self.layers, self.timing)

    def lock(self, key: str) -> SharedLock:
        """The lock of a key, across nodes."""
        from udocker.store.lock import SharedLock  # not for those who find everything here

        return SharedLock(self.paths, key, self.timing)
