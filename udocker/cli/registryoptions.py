"""The options of all commands that ask registries: where they are, and the way there."""

from __future__ import annotations

import argparse
from dataclasses import replace

from udocker.config import Config, proxy_url, registry_url
from udocker.errors import ConfigError, UsageError

_PROXIES = "socks5h://user:password@host:port; also socks5, socks4, socks4a, http, https"


def add_proxy_option(parser: argparse.ArgumentParser) -> None:
    """Declare ``--httpproxy``."""
    parser.add_argument("--httpproxy", metavar="URL", default="", help=_PROXIES)


def add_registry_options(parser: argparse.ArgumentParser) -> None:
    """Declare ``--registry``, ``--index`` and ``--httpproxy``."""
    add = parser.add_argument
    add("--registry", metavar="URL", default="", help="where names without a host are, instead of Docker Hub")
    add("--index", metavar="URL", default="", help="accepted: nothing but a search asks an index")
    add_proxy_option(parser)


def with_proxy(config: Config, options: argparse.Namespace) -> Config:
    """The settings with ``--httpproxy`` in force; raises UsageError."""
    try:
        return replace(config, http_proxy=proxy_url(options.httpproxy) or config.http_proxy)
    except ConfigError as error:
        raise UsageError(error.message.replace("configuration", "--httpproxy", 1), error.hint) from None


def with_registry(config: Config, options: argparse.Namespace) -> Config:
    """The settings with the options of ``add_registry_options`` in force; raises UsageError."""
    config = with_proxy(config, options)
    if not options.registry:
        return config
    try:
        return replace(config, hub_registry=registry_url(options.registry))
    except ConfigError as error:
        message = f"--registry {options.registry!r}: not the address of a registry"
        raise UsageError(message, error.hint) from None
