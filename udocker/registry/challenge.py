"""The WWW-Authenticate header (RFC 9110, sections 11.3 to 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_LONGEST = 8192
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = r'"((?:[^"\\]|\\.)*)"'
# Values ought to be tokens or quoted; a URL without quotes is taken as well.
_PARAMETER = re.compile(rf"({_TOKEN})\s*=\s*(?:{_QUOTED}|([^\s,\"]+))", re.DOTALL)
_SCHEME = re.compile(rf"({_TOKEN})(?=\s|,|$)")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$))")
_SEPARATORS = re.compile(r"[\s,]+")
_REST = re.compile(r"[^,]*")


@dataclass(frozen=True)
class Challenge:
    """One way to authenticate: ``scheme`` and the parameters' names are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> list[Challenge]:
    """Every challenge of a header, in its order; what cannot be read is left out."""
    text = header[:_LONGEST]
    found: list[tuple[str, dict[str, str]]] = []
    position = 0
    while position < len(text):
        position = _next(text, position, found)
    return [Challenge(scheme, parameters) for scheme, parameters in found]


def _next(text: str, position: int, found: list[tuple[str, dict[str, str]]]) -> int:
    """Read what stands at ``position`` into ``found``; returns where the next thing begins."""
    if separators := _SEPARATORS.match(text, position):
        return separators.end()
    parameter = _PARAMETER.match(text, position)
    if parameter and found:
        name, quoted, plain = parameter.groups()
        value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
        # The first of two parameters with one name counts.
        found[-1][1].setdefault(name.lower(), value)
        return parameter.end()
    scheme = _SCHEME.match(text, position)
    if scheme is None:
        # At least one character, so that every call advances.
        return _REST.match(text, position + 1).end()  # type: ignore[union-attr]
    found.append((scheme[1].lower(), {}))
    after = _SEPARATORS.match(text, scheme.end())
    start = after.end() if after and "," not in after[0] else scheme.end()
    token68 = _TOKEN68.match(text, start) if start > scheme.end() else None
    return token68.end() if token68 else scheme.end()
