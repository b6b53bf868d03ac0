"""The supported Python surface of the runtime: everything that the batch integration may use."""

from __future__ import annotations

from udocker.config import Config
from udocker.errors import (
    EngineError,
    NotFoundError,
    RegistryError,
    StoreError,
    UdockerError,
    UsageError,
)

__all__ = [
    "Config",
    "EngineError",
    "NotFoundError",
    "RegistryError",
    "StoreError",
    "UdockerError",
    "UsageError",
]
