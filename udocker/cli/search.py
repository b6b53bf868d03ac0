"""``udocker search``."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator

from udocker.cli.output import printable
from udocker.cli.registryoptions import add_proxy_option, with_proxy
from udocker.config import Config
from udocker.errors import UsageError
from udocker.model.reference import DOCKER_HUB_HOST, ImageReference
from udocker.registry.address import registry_address
from udocker.registry.catalog import Found, search, search_index, tags
from udocker.values import replace

DESCRIPTION = "Look for images on Docker Hub or in another registry, or list an image's tags."
_PAGE = 100  # results asked for at a time where nobody pauses to read them
_COLUMNS = "%-55.80s %8.8s %-70.70s %5.5s"
_WHOLE = "%-55s %8s %-70s %5s"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("expression", nargs="?", default="", metavar="EXPRESSION", help="[HOST/]words")
    parser.add_argument("-a", "--all", action="store_true", help="do not pause after each screen")
    parser.add_argument("--no-trunc", action="store_true", help="do not cut long lines")
    parser.add_argument("--list-tags", action="store_true", help="list the tags of the image EXPRESSION")
    parser.add_argument("--registry", metavar="HOST", default="", help="search this registry")
    parser.add_argument("--index", metavar="URL", default="", help="another index than Docker Hub's")
    add_proxy_option(parser)


def run(config: Config, options: argparse.Namespace) -> int:
    """Print the tags, or what was found, in udocker's columns."""
    config = with_proxy(config, options)
    if options.index:
        config = replace(
            config, hub_index=Config.from_environment({"UDOCKER_INDEX": options.index}).hub_index
        )
    host, words = _split(options.expression)
    registry = registry_address(options.registry or host)
    if options.list_tags:
        name = f"{options.registry and registry or host}/{words}" if options.registry or host else words
        for tag in tags(config, ImageReference.parse(name)):
            print(printable(tag))
        return 0
    pauses = not options.all and sys.stdin.isatty() and sys.stdout.isatty()
    size = max(1, shutil.get_terminal_size().lines - 2) if pauses else _PAGE
    if registry == DOCKER_HUB_HOST:
        pages = search_index(config, words, size)
    else:
        pages = search(config, registry, words, size)
    _show(pages, _WHOLE if options.no_trunc else _COLUMNS, pauses)
    return 0


def _show(pages: Iterator[list[Found]], columns: str, pauses: bool) -> None:
    first = True
    for page in pages:
        if pauses and not first:
            print("[return or q to quit]", end="", file=sys.stderr, flush=True)
            if sys.stdin.readline().strip().lower() in ("q", "e"):
                return
        if first or pauses:
            print(columns % ("NAME", "OFFICIAL", "DESCRIPTION", "STARS"))
        for found in page:
            official = "[OK]" if found.official else "----"
            print(columns % (found.name, official, found.description, found.stars))
        first = False


def _split(expression: str) -> tuple[str, str]:
    """Host and words of ``quay.io/words``; the host is told by a dot, a colon or being localhost."""
    first, slash, rest = expression.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    if any(not char.isprintable() for char in expression):
        raise UsageError(f"search: {expression!r}: not words to look for")
    return "", expression
