"""Where tasks run: in the shared store, or with ``--stage=node`` in a copy that each node makes once.

A node unpacks its copy from one file, ``batch/staged/<id>.tar.zst`` in the shared store.  That is made once,
by whichever node comes first: it pulls the image into the shared store, unpacks it on its own disk and packs
the result.  The shared file system is asked for a handful of files, never for a tree of thousands.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Optional

from udocker import api

from .nodestore import Lease, NodeStore, node_place
from .once import Work
from .prepare import PREPARED, WARM, Place, Preparation, in_own_order, prepare_all

STAGED = "staged"
_LOG = logging.getLogger(__name__)
# Until it is unpacked nobody knows how large an image is; layers are seldom compressed to less than a fourth.
_GROWTH = 4


@contextmanager
def place_of(
    config: api.Config,
    image: str,
    stage: str,
    environ: Mapping[str, str],
    prefetch: Sequence[str] = (),
    keep: bool = True,
) -> Iterator[Place]:
    """See to it that a pinned image and those fetched with it are ready, and stay so for the block.

    A node that has no room for copies says so, and runs them from the shared store.  Without ``keep`` copies
    that nobody uses after the block are removed, unless a directory is set for them.
    Raises BatchError, RegistryError, StoreError.
    """
    copies = None if stage == "shared" else _Copies(config, image, environ, prefetch, keep)
    place = None if copies is None else copies.made()
    if copies is None or place is None:
        yield prepare_all(config, image, environ, prefetch)
        return
    try:
        yield place
    finally:
        copies.leave()


class _Copies:
    """The copies of a task's containers on its node, and the leases on them."""

    def __init__(
        self, config: api.Config, image: str, environ: Mapping[str, str], prefetch: Sequence[str], keep: bool
    ) -> None:
        self._config = config
        self._image = image
        self._environ = environ
        self._prefetch = prefetch
        self._containers = [api.prepared_container(config, name) for name in (image, *prefetch)]
        self._removed = () if keep or config.node_dir else self._containers
        self._node = NodeStore(config, node_place(config, environ))
        self._leases: list[Lease] = []

    def made(self) -> Optional[Place]:
        """Where they are, once they are whole; None where the node has no room for them, which is told."""
        try:
            return self._make()
        except BaseException as error:
            self.leave()
            if isinstance(error, api.StoreNoSpace) and self._node.is_named_by(error):
                error = self._node.full(error)
            if not (isinstance(error, api.UdockerError) and self._node.is_full(error)):
                raise
            _LOG.warning("%s: runs in the shared directory", error.message)
        self._clear()
        return None

    def _clear(self) -> None:
        """Remove what is half made, and what was kept free for it."""
        try:
            for container in self._containers:
                if self._node.exists() and not api.has_container(self._node.config, container):
                    self._node.evict(container)
        except api.UdockerError as error:
            _LOG.debug("%s", error)  # a disk that is full to the last byte; the next one cleans up

    def _make(self) -> Place:
        api.warn_as("udocker-batch")
        self._node.create()
        self._node.require_executable()
        for container in self._containers:
            self._leases.append(self._node.lease(container))
        others = tuple(
            _Copying(self._config, self._node, other).run() for other in in_own_order(self._prefetch)
        )
        return Place(self._node.config, _Copying(self._config, self._node, self._image).run(), others)

    def leave(self) -> None:
        """Give the leases back, and clean up."""
        for lease in self._leases:
            lease.close()
        try:
            release(self._config, self._environ, self._removed)
        except api.UdockerError as error:
            _LOG.warning("%s", error)  # no reason to lose what a task has done; the next one cleans up


def prepare_images(
    config: api.Config, stage: str, images: Sequence[str], environ: Mapping[str, str]
) -> list[Preparation]:
    """Prepare pinned images for jobs to come, and leave no copy on this node; what was done for each.

    Raises as ``place_of``.
    """
    if not images:
        return []
    with place_of(config, images[0], stage, environ, images[1:], keep=False) as place:
        return sorted((place.preparation, *place.prefetched), key=lambda done: images.index(done.image))


def release(config: api.Config, environ: Mapping[str, str], containers: Sequence[str] = ()) -> list[str]:
    """Clean up on a node, as at the end of a job or in an epilog; the ids of the copies that are removed.

    Removed are those of ``containers`` and those that were not used for ``config.node_keep`` seconds; never
    what somebody uses.  Raises BatchError, StoreError.
    """
    node = NodeStore(config, node_place(config, environ))
    if not node.exists():
        return []
    removed = [container for container in containers if node.evict(container)]
    return removed + [copy.container for copy in node.sweep(config.node_keep)]


def staged_archive(config: api.Config, container: str) -> Path:
    """The file in the shared store from which nodes unpack a container."""
    return Path(config.udocker_dir) / "batch" / "staged" / f"{container}.tar.zst"


class _Copying:
    """Making one container's copy on this node, whose lease the caller holds."""

    def __init__(self, config: api.Config, node: NodeStore, image: str) -> None:
        self._config = config
        self._node = node
        self._image = image
        self._container = api.prepared_container(config, image)
        self._archive = staged_archive(config, self._container)
        self._made = (WARM, False)

    def run(self) -> Preparation:
        """Make it, unless it is there."""
        there = self._is_here
        work = Work(self._node.config, f"stage-{self._container}", there, there, self._copy)
        role, _, seconds = work.ensure(self._node.gate)
        if role == PREPARED:
            made, pulled = self._made
            return Preparation(
                self._image, self._container, PREPARED if made == PREPARED else STAGED, seconds, pulled
            )
        return Preparation(self._image, self._container, role, seconds)

    def _is_here(self) -> bool:
        return api.has_container(self._node.config, self._container)

    def _copy(self, workspace: str) -> bool:
        node = replace(self._node.config, workspace=workspace)
        packing = Work(
            self._config,
            f"stage-{self._container}",
            lambda: api.is_there_now(self._archive),
            lambda: api.is_there_now(self._archive),
            lambda shared: self._pack(node, shared),
        )
        try:
            role, pulled, _ = packing.ensure()
            self._made = (role, pulled)
            api.share_engines(self._config, self._node.config)
            if not self._is_here():
                self._room(api.packed_size(self._archive))
                with self._onto_node():
                    api.unpack_container(node, self._archive, self._container)
        finally:
            api.discard_workspaces(self._node.config, workspace)
        return pulled

    def _pack(self, node: api.Config, workspace: str) -> bool:
        shared = replace(self._config, workspace=workspace)
        try:
            pulled, size = api.ensure_image(shared, self._image)
            self._node.make_room(self._container, _GROWTH * size, guessed=True)
            with self._onto_node():
                api.pack_image(shared, self._image, node, self._container, self._archive, self._room)
        finally:
            api.discard_workspaces(self._config, workspace)
        return pulled

    @contextmanager
    def _onto_node(self) -> Iterator[None]:
        """What finds no room while the node is written to is the node's, unless it names the shared store."""
        try:
            yield
        except api.StoreNoSpace as error:
            if self._config.udocker_dir in error.message:
                raise
            raise self._node.full(error) from error

    def _room(self, size: int) -> None:
        self._node.make_room(self._container, size)
