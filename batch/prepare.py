"""Prepare once: one pull and one unpacking for any number of tasks, on any number of nodes.

A task that finds the container ready takes no lock, asks for one name, and imports no more than that needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from udocker import api

if api.TYPE_CHECKING:
    from pathlib import Path
    from typing import Callable, Optional

    from .once import Gate

_PROGRAM = "udocker-batch"
WARM, WAITED, PREPARED = "warm", "waited", "prepared"


@api.dataclass(frozen=True)
class Preparation:
    """What this process did for the container of an image: found it (``warm``), ``waited`` for another
    process, ``prepared`` it, or ``staged`` it, which is to make its node's copy; ``seconds`` is how long that
    took."""

    image: str
    container: str
    role: str
    seconds: float
    pulled: bool = False


@api.dataclass(frozen=True)
class Place:
    """Where a task runs: ``config`` names the store that has the container."""

    config: api.Config
    preparation: Preparation
    prefetched: tuple[Preparation, ...] = ()


class Ready:
    """A place that needs nothing to stay as it is, found when it is entered."""

    def __init__(self, find: Callable[[], Place]) -> None:
        self._find = find

    def __enter__(self) -> Place:
        return self._find()

    def __exit__(self, *_: object) -> None:
        pass


def prepare(config: api.Config, image: str, gate: Optional[Gate] = None) -> Preparation:
    """Make sure that the container of a pinned image is there.

    ``gate`` is where the node's processes wait for one of them.  Raises BatchError where another process that
    this one waited for has failed, else what pulling and unpacking raise.
    """
    container = api.prepared_container(config, image)
    if api.has_container(config, container):
        return Preparation(image, container, WARM, 0.0)
    from .once import Work

    api.warn_as(_PROGRAM)  # what takes long may have something to tell
    work = Work(
        config,
        f"prepare-{container}",
        lambda: api.has_container(config, container),
        lambda: api.is_published(config, container),
        lambda workspace: api.create_container(config, image, container, workspace),
    )
    role, pulled, seconds = work.ensure(gate)
    return Preparation(image, container, role, seconds, pulled)


def prepare_all(
    config: api.Config, image: str, environ: Mapping[str, str], prefetch: Sequence[str] = ()
) -> Place:
    """Make sure that the containers of pinned images are in the shared store; raises as ``prepare``."""

    def gate(name: str) -> Optional[Path]:
        from .nodestore import gate_of

        return gate_of(config, environ, name)

    fetched = tuple(prepare(config, other, gate) for other in in_own_order(prefetch))
    return Place(config, prepare(config, image, gate), fetched)


def in_own_order(images: Sequence[str]) -> Sequence[str]:
    """Each node begins with another image, so that several are pulled at once instead of one for all."""
    if not images:
        return ()
    import os
    import zlib

    start = zlib.crc32(os.fsencode(os.uname().nodename)) % len(images)
    return (*images[start:], *images[:start])
