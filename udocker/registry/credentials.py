"""A user's name and password for one registry, and the places that they are looked for in."""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from udocker.config import Config
from udocker.errors import ConfigError
from udocker.model.reference import DOCKER_HUB, DOCKER_HUB_HOST

_LARGEST_FILE = 1 << 20
# The names that docker knows its Hub by; its config.json says https://index.docker.io/v1/.
HUB_NAMES = frozenset({DOCKER_HUB, DOCKER_HUB_HOST, "index.docker.io"})
_HINT_DOCKER = "docker login writes this file"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Credentials:
    """A user's name and password for one registry."""

    user: str
    password: str = field(repr=False)

    @property
    def encoded(self) -> str:
        """``user:password`` in base64, as headers and files have it (RFC 7617; in UTF-8, as docker does)."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")

    @property
    def header(self) -> str:
        """The value of an Authorization header."""
        return f"Basic {self.encoded}"


def find_credentials(config: Config, registry: str) -> Optional[Credentials]:
    """Those of udocker's keystore, else of docker's config.json, else of its credential helpers; or None.

    Raises ConfigError for a file that cannot be read.
    """
    from udocker.registry.helpers import ask_helper, helper_of

    if config.keystore is not None:
        kept = json_object(Path(config.keystore), "udocker logout -a removes it")
        found = entry_of(kept, registry, f"configuration: {config.keystore}")
        if found is not None:
            return found
    path = Path(config.docker_config) if config.docker_config else None
    found = stored_credentials(path, registry)
    name = "" if found is not None else helper_of(docker_settings(path), registry)
    if not name:
        return found
    try:
        return ask_helper(name, registry)
    except ConfigError as failure:
        # Most images need no password, and a docker configuration made elsewhere may name helpers that this
        # machine lacks: the pull goes on, and the registry has the last word.
        _log.warning("%s; going on without a password", failure.message)
        return None


def stored_credentials(path: Optional[Path], registry: str) -> Optional[Credentials]:
    """What docker's ``config.json`` itself holds for ``registry``, or None.

    Raises ConfigError for a file that cannot be read.
    """
    auths = docker_settings(path).get("auths")
    return entry_of(auths, registry, f"configuration: {path}: auths") if isinstance(auths, Mapping) else None


def docker_settings(path: Optional[Path]) -> Mapping[str, Any]:
    """docker's config.json, empty where there is none; raises ConfigError."""
    return {} if path is None else json_object(path, _HINT_DOCKER, "set DOCKER_CONFIG to another directory")


def entry_of(entries: Mapping[str, Any], registry: str, what: str) -> Optional[Credentials]:
    """The credentials of ``registry`` among entries by address; ``what`` names them in a ConfigError."""
    for key in keys_of(entries, registry):
        if isinstance(entries[key], Mapping):
            found = _credentials(entries[key], f"{what}: {key}")
            if found is not None:
                return found
    return None


def keys_of(entries: Mapping[str, Any], registry: str) -> list[str]:
    """The keys of ``entries`` that stand for ``registry``, with or without a scheme."""
    names = HUB_NAMES if registry in HUB_NAMES else {registry.lower()}
    return [key for key in entries if host_of_key(key) in names]


def host_of_key(key: str) -> str:
    """The host that a key of ``auths`` stands for; empty for a key that names part of a registry only."""
    host, _, path = key.partition("://")[2 if "://" in key else 0].partition("/")
    return host.lower() if path.strip("/") in ("", "v1", "v2") else ""


def json_object(path: Path, hint: str, unreadable: str = "") -> dict[str, Any]:
    """The object in a file of JSON, empty where there is no file; raises ConfigError with ``hint``."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_LARGEST_FILE))
    except (FileNotFoundError, NotADirectoryError):
        # Nobody has logged in on this machine.
        return {}
    except OSError as error:
        raise ConfigError(f"configuration: {path}: {error.strerror}", unreadable or hint) from error
    except (ValueError, RecursionError):
        raise ConfigError(f"configuration: {path}: not JSON", hint) from None
    if not isinstance(document, dict):
        raise ConfigError(f"configuration: {path}: not a JSON object", hint)
    return document


def _credentials(entry: Mapping[str, Any], what: str) -> Optional[Credentials]:
    encoded = entry.get("auth")
    if not encoded:
        name, secret = entry.get("username"), entry.get("password")
        if isinstance(name, str) and isinstance(secret, str) and name:
            return Credentials(name, secret)
        return None
    try:
        decoded = base64.b64decode(str(encoded), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        # Reported below, like a text without a colon.
        decoded = ""
    user, colon, password = decoded.partition(":")
    if not colon:
        raise ConfigError(f"{what}: auth is not base64 of user:password", "log in again")
    # docker pads with NUL bytes in files written by old versions.
    return Credentials(user, password.strip("\0"))
