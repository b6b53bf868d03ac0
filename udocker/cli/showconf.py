"""``udocker showconf``."""

from __future__ import annotations

import argparse
import dataclasses
import re

from udocker.cli.output import printable
from udocker.config import Config
from udocker.store.lock import lock_method
from udocker.store.store import Store

DESCRIPTION = "Print the settings in force, one a line."
# Of a proxy's URL.
_PASSWORD = re.compile(r"//[^/@]*@")


# The same under the names that scripts know from udocker 1.3.
_ALIASES = {
    "topdir": "udocker_dir",
    "http_insecure": "insecure",
    "dockerio_index_url": "hub_index",
    "dockerio_registry_url": "hub_registry",
    "timeout": "registry_timeout",
    "verbose_level": "log_level",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options."""


def run(config: Config, options: argparse.Namespace) -> int:
    """Print ``name = value``, as udocker does; lists are separated by commas.

    The last line is found by trying: how the store's file system takes locks.
    """
    for field in dataclasses.fields(config):
        print(f"{field.name} = {printable(_text(getattr(config, field.name)))}")
    for key, value in _ALIASES.items():
        print(f"{key} = {printable(_text(getattr(config, value)))}")
    print(f"lock_method = {lock_method(Store.at(config).paths.scratch)}")
    return 0


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (frozenset, set)):
        return ",".join(sorted(map(str, value)))
    if isinstance(value, (tuple, list)):
        # Pairs are written as they are set: a registry and its mirror.
        return ",".join("=".join(item) if isinstance(item, tuple) else str(item) for item in value)
    return _PASSWORD.sub("//...@", str(value))
