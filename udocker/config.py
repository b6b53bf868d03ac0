"""Settings: read once from the environment, then passed down as one value."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from udocker.errors import ConfigError

# Three years of seconds: more than anybody waits, and less than what overflows a timer.
_MAX_NUMBER = 10**8


@dataclass(frozen=True)
class Config:
    """Everything that can be set; times are in seconds.

    ``lock_beat`` is how often the holder of a lock shows that it lives, ``lock_stale`` how long another
    node sees no beat before it takes the lock over: longer than a client may cache attributes.
    ``lock_wait`` bounds the wait for somebody else's pull and unpacking.  ``workspace`` is a directory below
    the store's ``tmp`` for what is being made, so that it can be cleared when its maker has died.
    """

    udocker_dir: Path
    insecure: bool = False
    insecure_registries: frozenset[str] = frozenset()
    docker_config: Optional[Path] = None
    keystore: Optional[Path] = None
    hub_index: str = "https://hub.docker.com"
    registry_timeout: float = 30.0
    registry_retries: int = 5
    lock_beat: float = 5.0
    lock_stale: float = 90.0
    lock_wait: float = 3600.0
    workspace: str = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Config:
        """Read UDOCKER_* and what docker reads; raises ConfigError naming the variable."""
        home = environ.get("HOME") or _home_of_user()
        directory = environ.get("UDOCKER_DIR") or (home and os.path.join(home, ".udocker"))
        docker = environ.get("DOCKER_CONFIG") or (home and os.path.join(home, ".docker"))
        if not directory:
            raise ConfigError("configuration: UDOCKER_DIR: not set, and nor is HOME", "set UDOCKER_DIR")
        registries = environ.get("UDOCKER_INSECURE_REGISTRIES", "")
        return cls(
            udocker_dir=Path(os.path.abspath(directory)),
            insecure=_flag(environ, "UDOCKER_INSECURE"),
            insecure_registries=frozenset(name.strip() for name in registries.split(",") if name.strip()),
            docker_config=Path(docker) / "config.json" if docker else None,
            keystore=Path(os.path.join(home or directory, ".udocker" if home else "", _keystore(environ))),
            hub_index=index_address(environ.get("UDOCKER_INDEX") or cls.hub_index),
            registry_timeout=_positive(environ, "UDOCKER_REGISTRY_TIMEOUT", cls.registry_timeout, 1e-3),
            registry_retries=int(_positive(environ, "UDOCKER_REGISTRY_RETRIES", cls.registry_retries)),
            lock_beat=_positive(environ, "UDOCKER_LOCK_BEAT", cls.lock_beat),
            lock_stale=_positive(environ, "UDOCKER_LOCK_STALE", cls.lock_stale),
            lock_wait=_positive(environ, "UDOCKER_LOCK_WAIT", cls.lock_wait),
        )


def _home_of_user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""  # a cluster's nodes need not know every user; UDOCKER_DIR does without


def index_address(text: str) -> str:
    """The URL of an index, with a scheme; raises ConfigError."""
    url = text if "://" in text else f"https://{text}"
    if not re.fullmatch(r"https?://[^/@?#\s]+(/[^?#\s]*)?", url):
        raise ConfigError(f"configuration: UDOCKER_INDEX={text!r}: not the address of an index")
    return url


def _keystore(environ: Mapping[str, str]) -> str:
    return environ.get("UDOCKER_KEYSTORE") or "keystore"


def _positive(environ: Mapping[str, str], name: str, default: float, least: float = 0.0) -> float:
    text = environ.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= _MAX_NUMBER:
        raise ConfigError(f"configuration: {name}={text!r}: not a number from {least:g} to {_MAX_NUMBER}")
    return value


def _flag(environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(name, "").lower()
    if text in ("", "0", "no", "false"):
        return False
    if text in ("1", "yes", "true"):
        return True
    raise ConfigError(f"configuration: {name}={text!r}: not a yes or no", "use 1 or 0")
