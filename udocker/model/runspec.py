"""What a user asks of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from udocker.model.mode import ExecutionMode
from udocker.model.mount import Mount


@dataclass(frozen=True)
class RunSpec:
    """One run of a container; empty fields leave the choice to the image.

    ``env`` holds (name, value) pairs that win over the image's.  ``entrypoint`` None keeps the
    image's; an empty one removes it, as ``docker run --entrypoint ''`` does.  ``user`` is
    ``name|uid[:group|gid]``.
    """

    command: tuple[str, ...] = ()
    entrypoint: Optional[tuple[str, ...]] = None
    env: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    user: str = ""
    mounts: tuple[Mount, ...] = ()
    mode: Optional[ExecutionMode] = None
    system_mounts: bool = True

    def argv(self, image_entrypoint: Sequence[str], image_cmd: Sequence[str]) -> tuple[str, ...]:
        """The command line after docker's rules: a new entry point drops the image's command."""
        if self.entrypoint is not None:
            return (*self.entrypoint, *self.command)
        return (*image_entrypoint, *(self.command or image_cmd))
