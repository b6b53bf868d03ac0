"""Published ports, in the syntax of ``docker run --publish``."""

from __future__ import annotations

from typing import Optional

from udocker.errors import UsageError
from udocker.values import dataclass

_PORT_MAX = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True)
class PublishedPort:
    """Ports of the container, as (first, last), and those that the host shall show them at.

    ``host`` is None where the host's are left open; ``address`` is the host's, empty for all.
    """

    container: tuple[int, int]
    host: Optional[tuple[int, int]] = None
    address: str = ""
    protocol: str = "tcp"

    @classmethod
    def parse(cls, text: str) -> PublishedPort:
        """Read ``[[ADDRESS:]HOST:]CONTAINER[/PROTOCOL]``, each port perhaps a range; raises UsageError."""
        rest, slash, protocol = text.partition("/")
        if slash and protocol.lower() not in _PROTOCOLS:
            raise _bad(text, f"{protocol!r} is no protocol", f"one of {', '.join(_PROTOCOLS)}")
        rest, _, container = rest.rpartition(":")
        before, _, host = rest.rpartition(":")
        made = cls(
            container=_range(text, container),
            host=_range(text, host) if host else None,
            address=before.strip("[]"),
            protocol=protocol.lower() or "tcp",
        )
        if made.host is not None and _length(made.host) != _length(made.container):
            raise _bad(text, "the two ranges differ in length", "")
        return made

    def __str__(self) -> str:
        """As it is parsed."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        host = _words(self.host) if self.host else ""
        before = f"{address}:{host}:" if address else f"{host}:" if host else ""
        after = "" if self.protocol == "tcp" else f"/{self.protocol}"
        return f"{before}{_words(self.container)}{after}"

    @property
    def is_mapped(self) -> bool:
        """Whether the host shall show other numbers than the container's, or at one address only."""
        return bool(self.address) or self.host not in (None, self.container)


def _words(ports: tuple[int, int]) -> str:
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"


def _range(text: str, word: str) -> tuple[int, int]:
    first, dash, last = word.partition("-")
    low = _port(text, first)
    high = _port(text, last) if dash else low
    if low > high:
        raise _bad(text, f"{word}: the range runs backwards", "")
    return low, high


def _port(text: str, word: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word) <= _PORT_MAX):
        raise _bad(text, f"{word!r} is not a port", "write HOST:CONTAINER, as 8080:80")
    return int(word)


def _length(ports: tuple[int, int]) -> int:
    return ports[1] - ports[0]


def _bad(text: str, cause: str, hint: str) -> UsageError:
    return UsageError(f"run: --publish {text!r}: {cause}", hint)
