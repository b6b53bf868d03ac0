"""Which ports of a container the host has under other numbers, and which mode can do that."""

from __future__ import annotations

import socket

from udocker.engine.base import Abilities, Launch
from udocker.engine.ports import decode
from udocker.engine.select import first_able
from udocker.errors import UsageError
from udocker.log import Log
from udocker.model.imageconfig import ImageConfig
from udocker.model.port import PublishedPort
from udocker.model.runspec import RunSpec
from udocker.values import TYPE_CHECKING, replace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

    from udocker.config import Config
    from udocker.model.mode import ExecutionMode

_ROOT = ("", "0", "root")
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_LOG = Log(__name__)


def mode_for_ports(config: Config, image: ImageConfig, spec: RunSpec) -> Optional[ExecutionMode]:
    """A mode that gives the host's ports other numbers, where that is asked for and one works here."""
    if not (any(port.is_mapped for port in spec.ports) or (spec.publish_all and image.exposed)):
        return None
    user = spec.user or image.user
    is_caller = not spec.user and user.partition(":")[0] in _ROOT

    def able(abilities: Abilities) -> bool:
        return abilities.ports and (abilities.other_users or is_caller)

    return first_able(able, config.udocker_dir)


def plan_ports(image: ImageConfig, spec: RunSpec, abilities: Abilities) -> tuple[PublishedPort, ...]:
    """The ports that the host is to have under other numbers; a line for each that it cannot."""
    if not abilities.ports:
        for port in spec.ports:
            if port.is_mapped:
                _LOG.warning(
                    "run: --publish %s: not mapped: the network is the host's, and ports keep their numbers "
                    "in this execution mode; T and P map them",
                    port,
                )
        return ()
    asked = tuple(port for port in spec.ports if port.is_mapped)
    return (*asked, *(_exposed(image, spec) if spec.publish_all else ()))


def _exposed(image: ImageConfig, spec: RunSpec) -> Iterator[PublishedPort]:
    for text in image.exposed:
        try:
            port = PublishedPort.parse(text)
        except UsageError as error:
            _LOG.warning("run: the image exposes what is no port: %s", error.message)
            continue
        asked = (one for one in spec.ports if one.protocol == port.protocol)
        if not any(one.container[0] <= port.container[0] <= one.container[1] for one in asked):
            numbers = range(port.container[0], port.container[1] + 1)
            yield from (_free(replace(port, container=(number, number))) for number in numbers)


def _free(port: PublishedPort) -> PublishedPort:
    """With a port of the host that nobody has; somebody may take it until the program does."""
    kind = _KINDS.get(port.protocol, socket.SOCK_STREAM)
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("", 0))
        number = int(probe.getsockname()[1])
    return replace(port, host=(number, number))


def published(launch: Launch) -> tuple[tuple[str, str], ...]:
    """The ports of a launch, one by one, and where the host has them: ``80/tcp``, ``0.0.0.0:8080``."""
    found = []
    for port in decode(launch.argv):
        assert port.host is not None
        address = f"[{port.address}]" if ":" in port.address else port.address or "0.0.0.0"
        for offset in range(port.container[1] - port.container[0] + 1):
            inner = f"{port.container[0] + offset}/{port.protocol}"
            found.append((inner, f"{address}:{port.host[0] + offset}"))
    return tuple(found)
