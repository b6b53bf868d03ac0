"""``udocker login``."""

from __future__ import annotations

import argparse
import getpass
import sys
import warnings
from pathlib import Path

from udocker.cli.output import printable
from udocker.config import Config
from udocker.errors import ConfigError, UsageError
from udocker.registry.address import registry_address
from udocker.registry.credentials import Credentials
from udocker.registry.keystore import Keystore
from udocker.registry.login import check_login

DESCRIPTION = "Keep a name and a password for a registry, after the registry has taken them."
_LONGEST = 64 << 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--username", metavar="USER", help="asked for on a terminal if not given")
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--password", help="other users of this machine can see it: better leave it out")
    given.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    parser.add_argument(
        "--registry", metavar="HOST", default="", help="as in quay.io (default: Docker Hub's)"
    )


def run(config: Config, options: argparse.Namespace) -> int:
    """Check the credentials at the registry, then keep them."""
    registry = registry_address(options.registry)
    if config.keystore is None:
        raise ConfigError("login: no place for a keystore", "set HOME or UDOCKER_KEYSTORE")
    user = options.username or _ask_name(options)
    if ":" in user or not user.isprintable() or not user:
        raise UsageError(f"login: {printable(user)!r}: not a user's name")
    password = _password(options)
    if not password or any(char in password for char in "\r\n\0"):
        raise UsageError("login: password: empty or of more than one line")
    credentials = Credentials(user, password)
    check_login(config, registry, credentials)
    Keystore(Path(config.keystore)).put(registry, credentials)
    if not options.quiet:
        print(f"logged in to {registry} as {printable(user)}", file=sys.stderr)
    return 0


def _ask_name(options: argparse.Namespace) -> str:
    if options.password_stdin or not sys.stdin.isatty():
        raise UsageError("login: no user's name", "give --username=USER")
    print("username: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def _password(options: argparse.Namespace) -> str:
    if options.password is not None:
        return str(options.password)
    if options.password_stdin:
        return sys.stdin.read(_LONGEST).removesuffix("\n").removesuffix("\r")
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            return getpass.getpass("password: ")
        except (getpass.GetPassWarning, EOFError) as error:
            # Without a terminal it would be shown as it is typed.
            raise UsageError("login: no terminal to ask for a password on", "use --password-stdin") from error
