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

from udocker import api

from .nodestore import NodeStore, node_place
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

    Without ``keep`` copies on the node that nobody uses after the block are removed, unless a directory is
    set for them.  Raises BatchError, RegistryError, StoreError.
    """
    if stage == "shared":
        yield prepare_all(config, image, environ, prefetch)
        return
    node = NodeStore(config, node_place(config, environ))
    node.create()
    node.require_executable()
    containers = [api.prepared_container(config, name) for name in (image, *prefetch)]
    leases = [node.lease(container) for container in containers]
    try:
        fetched = tuple(_Copying(config, node, other).run() for other in in_own_order(prefetch))
        yield Place(node.config, _Copying(config, node, image).run(), fetched)
    finally:
        for lease in leases:
            lease.close()
        try:
            release(config, environ, () if keep or config.node_dir else containers)
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
                api.unpack_container(node, self._archive, self._container)
        finally:
            api.discard_workspaces(self._node.config, workspace)
        return pulled

    def _pack(self, node: api.Config, workspace: str) -> bool:
        shared = replace(self._config, workspace=workspace)
        try:
            pulled, size = api.ensure_image(shared, self._image)
            self._node.make_room(self._container, _GROWTH * size, guessed=True)
            api.pack_image(shared, self._image, node, self._container, self._archive, self._room)
        finally:
            api.discard_workspaces(self._config, workspace)
        return pulled

    def _room(self, size: int) -> None:
        self._node.make_room(self._container, size)
