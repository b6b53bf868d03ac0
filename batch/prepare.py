"""Prepare once: one pull and one unpacking for any number of tasks, on any number of nodes.

A task that finds the container ready takes no lock and asks for one name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from udocker import api

from .once import PREPARED, WAITED, WARM, Gate, Work

__all__ = ["PREPARED", "WAITED", "WARM", "Preparation", "prepare"]


@dataclass(frozen=True)
class Preparation:
    """What this process did for the container of an image: found it (``warm``), ``waited`` for another
    process, ``prepared`` it, or ``staged`` it, which is to make its node's copy; ``seconds`` is how long that
    took."""

    image: str
    container: str
    role: str
    seconds: float
    pulled: bool = False


def prepare(config: api.Config, image: str, gate: Optional[Gate] = None) -> Preparation:
    """Make sure that the container of a pinned image is there.

    ``gate`` is where the node's processes wait for one of them.  Raises BatchError where another process that
    this one waited for has failed, else what pulling and unpacking raise.
    """
    container = api.prepared_container(config, image)
    key = f"prepare-{container}"
    work = Work(
        config,
        key,
        lambda: api.has_container(config, container),
        lambda: api.is_published(config, container),
        lambda workspace: api.create_container(config, image, container, workspace),
    )
    role, pulled, seconds = work.ensure(gate)
    return Preparation(image, container, role, seconds, pulled)
