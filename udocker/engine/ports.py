"""Published ports as the launchers take them: ``PROTOCOL/FIRST-LAST/HOST/ADDRESS``, separated by commas.

The protocol is socket(2)'s number, HOST the first of the host's ports, and the address 32 hexadecimal digits
of IPv6, which has IPv4's in it (ipv6(7)); or nothing, for all.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import Optional

from udocker.errors import UsageError
from udocker.model.port import PublishedPort

OPTION = "--ports"
# As many as a launcher takes: native/net/ports.h.
MOST = 32

_NUMBERS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": 132}


def encode(ports: Sequence[PublishedPort]) -> str:
    """The option's value; raises UsageError for too many, and for an address that is none."""
    if len(ports) > MOST:
        message = f"run: --publish: {len(ports)} of them, and {MOST} are possible"
        raise UsageError(message, "write ranges, as 8000-8010:8000-8010")
    return ",".join(map(_encode, ports))


def _encode(port: PublishedPort) -> str:
    host = port.host or port.container
    first, last = port.container
    return f"{_NUMBERS[port.protocol]:d}/{first}-{last}/{host[0]}/{_address(port)}"


def _address(port: PublishedPort) -> str:
    if not port.address:
        return ""
    try:
        address = ipaddress.ip_address(port.address)
    except ValueError:
        raise UsageError(f"run: --publish {port}: {port.address!r}: not an address") from None
    whole = address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed
    return whole.hex()


def decode(argv: Sequence[str]) -> list[PublishedPort]:
    """Those of a launch; none where it has no such option."""
    options = list(argv[: argv.index("--")]) if "--" in argv else []
    if OPTION not in options:
        return []
    names = {number: name for name, number in _NUMBERS.items()}
    found = []
    for text in options[options.index(OPTION) + 1].split(","):
        protocol, ports, host, address = text.split("/")
        first, last = map(int, ports.split("-"))
        there = (int(host), int(host) + last - first)
        found.append(PublishedPort((first, last), there, _words(address), names[int(protocol)]))
    return found


def _words(digits: str) -> str:
    if not digits:
        return ""
    address = ipaddress.IPv6Address(bytes.fromhex(digits))
    four: Optional[ipaddress.IPv4Address] = address.ipv4_mapped
    return str(four if four is not None else address)
