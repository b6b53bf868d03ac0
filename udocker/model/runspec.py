"""What a user asks of one run."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from udocker.model.mode import ExecutionMode
from udocker.model.mount import Mount
from udocker.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from typing import Optional

    from udocker.model.port import PublishedPort


class Accounts(Enum):
    """Whose passwd and group files the program sees."""

    EXTENDED = "the container's, with the program's user and group where they are missing"
    HOST = "the host's, with the caller where only its directory service knows him"
    CONTAINER = "the container's as they are"


@dataclass(frozen=True)
class RunSpec:
    """One run of a container; empty fields leave the choice to the image.

    ``env`` holds (name, value) pairs that win over the image's; with ``host_env`` the caller's variables
    pass as well, and lose to both.  ``entrypoint`` None keeps the image's; an empty one removes it, as
    ``docker run --entrypoint ''`` does.  ``user`` is ``name|uid[:group|gid]``.  ``excluded`` are sources of
    mounts, or SOURCE:TARGET, that are not to be made.  Without ``metadata`` the image's configuration is
    passed over.  With ``read_only`` nothing in the container can be changed.  ``kernel`` is the release that
    the program sees, where an engine can show another than the host's.  ``ports`` are those of the container
    that the host shall have under other numbers; with ``publish_all`` also those that the image exposes, each
    under a number that is free.  With ``nvidia`` the host's driver is shown, as after ``setup --nvidia``.
    """

    command: tuple[str, ...] = ()
    entrypoint: Optional[tuple[str, ...]] = None
    env: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    user: str = ""
    mounts: tuple[Mount, ...] = ()
    mode: Optional[ExecutionMode] = None
    system_mounts: bool = True
    devices: tuple[Mount, ...] = ()
    excluded: tuple[str, ...] = ()
    host_env: bool = False
    metadata: bool = True
    accounts: Accounts = Accounts.EXTENDED
    bind_home: bool = False
    graphics: bool = False
    read_only: bool = False
    kernel: str = ""
    ports: tuple[PublishedPort, ...] = ()
    publish_all: bool = False
    nvidia: bool = False

    def argv(self, image_entrypoint: Sequence[str], image_cmd: Sequence[str]) -> tuple[str, ...]:
        """The command line after docker's rules: a new entry point drops the image's command."""
        if self.entrypoint is not None:
            return (*self.entrypoint, *self.command)
        return (*image_entrypoint, *(self.command or image_cmd))
