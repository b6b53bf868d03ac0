"""The address of a registry, as users write it on command lines."""

from __future__ import annotations

from udocker.errors import UdockerError, UsageError
from udocker.model.reference import DOCKER_HUB_HOST, ImageReference
from udocker.registry.credentials import HUB_NAMES


def registry_address(text: str) -> str:
    """Host and port of ``quay.io``, ``https://quay.io/v2/`` or the like; Docker Hub's for nothing.

    Raises UsageError.
    """
    host, _, path = text.partition("://")[2 if "://" in text else 0].partition("/")
    if not text or host in HUB_NAMES:
        return DOCKER_HUB_HOST
    try:
        # A host alone may lack the dot or port that tells it from a name.
        usable = path.strip("/") in ("", "v1", "v2") and bool(host)
        port = "" if ":" in host.rpartition("]")[2] else ":443"
        ImageReference.parse(f"{host}{port}/name")
    except UdockerError:
        # Reported below, in this option's own words.
        usable = False
    if not usable:
        raise UsageError(f"registry: {text!r}: not the address of a registry", "write HOST or HOST:PORT")
    return host.lower()
