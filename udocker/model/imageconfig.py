"""What an image says of itself beside its layers: its platform and how to run it.

OCI image specification, config.md.  A container keeps it, so that starting one needs no manifest.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from udocker.errors import StoreCorrupt, UsageError
from udocker.values import TYPE_CHECKING, dataclass, field

if TYPE_CHECKING:
    from typing import Any

# Names that uname(2) and users give to machines, and those of Go that images carry.
ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armv8": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i386": "386",
    "i486": "386",
    "i586": "386",
    "i686": "386",
}


@dataclass(frozen=True)
class Platform:
    """``os/architecture[/variant]`` in Go's names."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``linux/arm64/v8``; raises UsageError."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise UsageError(f"platform: {text!r}: not of the form os/architecture", "as in linux/amd64")
        return cls(parts[0], ARCHITECTURES.get(parts[1], parts[1]), parts[2] if len(parts) == 3 else "")

    @classmethod
    def host(cls) -> Platform:
        """This machine's."""
        machine = os.uname().machine
        return cls("linux", ARCHITECTURES.get(machine, machine))

    @classmethod
    def from_json(cls, value: Any) -> Platform:
        """Read the ``platform`` object of a descriptor, or an image configuration."""
        if not isinstance(value, Mapping):
            return cls("unknown", "unknown")
        fields = (value.get("os"), value.get("architecture"), value.get("variant") or "")
        system, architecture, variant = (str(item or "unknown") if item != "" else "" for item in fields)
        return cls(system, architecture, variant)

    def accepts(self, offered: Platform) -> bool:
        """Whether an image built for ``offered`` is what this platform asks for."""
        same = (self.os, self.architecture) == (offered.os, offered.architecture)
        return same and (not self.variant or self.variant == offered.variant)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True)
class ImageConfig:
    """What an image says about running it (OCI image specification, config.md).

    ``entrypoint`` and ``cmd`` are argument vectors; ``env`` keeps the image's order.  ``document`` is
    the whole JSON object as it came.
    """

    document: Mapping[str, Any] = field(repr=False, compare=False)
    platform: Platform
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    user: str = ""
    volumes: tuple[str, ...] = ()

    @property
    def exposed(self) -> tuple[str, ...]:
        """The ports that it says its program offers, as ``80/tcp``; raises StoreCorrupt."""
        config = self.document.get("config")
        return _names(config, "ExposedPorts") if isinstance(config, Mapping) else ()

    @property
    def stop_signal(self) -> str:
        """What ends its program, as the image writes it; empty for SIGTERM.  Raises StoreCorrupt."""
        config = self.document.get("config")
        return _text(config, "StopSignal") if isinstance(config, Mapping) else ""

    @classmethod
    def parse(cls, raw: bytes) -> ImageConfig:
        """Read an image configuration; raises StoreCorrupt."""
        document = json_object(raw, "image configuration")
        config = document.get("config")
        if config is None:
            config = document.get("container_config") or {}
        if not isinstance(config, Mapping):
            raise StoreCorrupt("image configuration: config: not an object")
        return cls(
            document=document,
            platform=Platform.from_json(document),
            entrypoint=_vector(config, "Entrypoint"),
            cmd=_vector(config, "Cmd"),
            env=tuple(_pair(entry) for entry in _strings(config, "Env")),
            workdir=_text(config, "WorkingDir"),
            user=_text(config, "User"),
            volumes=_names(config, "Volumes"),
        )


def json_object(raw: bytes, what: str) -> Mapping[str, Any]:
    """The object that is the whole of a document; raises StoreCorrupt naming ``what`` it stood for."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise StoreCorrupt(f"{what}: not JSON") from None
    if not isinstance(document, dict):
        raise StoreCorrupt(f"{what}: not a JSON object")
    return document


def _strings(config: Mapping[str, Any], key: str) -> list[str]:
    value = config.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise StoreCorrupt(f"image configuration: {key}: not an array of strings")
    return value


def _vector(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """An argument vector; the string form of some tools is a program, or a shell's command line."""
    value = config.get(key)
    if isinstance(value, str):
        words = value.split()
        return ("/bin/sh", "-c", value) if len(words) > 1 else tuple(words)
    return tuple(_strings(config, key))


def _names(config: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The keys of a set, which the specification writes as an object; some tools write a list."""
    value = config.get(key) or {}
    if not isinstance(value, (dict, list)) or not all(isinstance(item, str) for item in value):
        raise StoreCorrupt(f"image configuration: {key}: not a set of paths")
    return tuple(value)


def _text(config: Mapping[str, Any], key: str) -> str:
    value = config.get(key) or ""
    if not isinstance(value, str):
        raise StoreCorrupt(f"image configuration: {key}: not a string")
    return value


def _pair(entry: str) -> tuple[str, str]:
    name, _, value = entry.partition("=")
    return name, value
