"""``udocker completion``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from udocker.cli.main import COMMANDS, command_parser, global_parser
from udocker.config import Config
from udocker.store.store import Store

DESCRIPTION = """Print what a shell needs to complete udocker's command lines.

    eval "$(udocker completion bash)"      in ~/.bashrc
    eval "$(udocker completion zsh)"       in ~/.zshrc, after compinit"""

_SCRIPTS = Path(__file__).resolve().parent / "completions"
_SHELLS = ("bash", "zsh")
# What an argument of a parser is called, and what is offered for it.
_KINDS = {
    "CONTAINER": "containers",
    "NAME": "containers",
    "IMAGE": "images",
    "FILE": "files",
    "DIR": "files",
    "DIRECTORY": "files",
    "SOURCE": "files",
    "COMMAND": "files",
    "ARGUMENT": "files",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's argument; the scripts themselves ask for containers and images."""
    parser.add_argument("shell", metavar="bash|zsh", choices=(*_SHELLS, "containers", "images"))


def run(config: Config, options: argparse.Namespace) -> int:
    """Print the script, or the names that it asks for, one a line."""
    if options.shell in _SHELLS:
        script = (_SCRIPTS / f"udocker.{options.shell}").read_text(encoding="utf-8")
        first, _, rest = script.partition("\n\n")
        print(f"{first}\n\n{_table()}\n\n{rest}", end="")
        return 0
    names = _containers(Store.at(config)) if options.shell == "containers" else _images(Store.at(config))
    for name in names:
        if name.isprintable():  # others cannot be typed, and a line break would make two of one
            print(name)
    return 0


def _containers(store: Store) -> Iterator[str]:
    for container_id in store.containers.ids():
        yield from store.containers.names(container_id)
        yield container_id


def _images(store: Store) -> Iterator[str]:
    for name, tag, _ in store.images.entries():
        yield f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"


def _table() -> str:
    """A function of both shells that sets, for a command, its options and what its arguments are."""
    cases = [_case("''", global_parser(), ["commands"])]
    for name in COMMANDS:
        parser = command_parser(name)
        places = [action for action in parser._actions if not action.option_strings]
        cases.append(_case(name, parser, [_kind(action) for action in places]))
    cases.append("        help) flags=() valued=() places=(commands) ;;")
    names = " ".join([*COMMANDS, "help"])
    body = "\n".join(cases)
    return (
        f'_udocker_table() {{\n    commands=({names})\n    case "$1" in\n{body}\n'
        "        *) flags=() valued=() places=() ;;\n    esac\n}"
    )


def _case(label: str, parser: argparse.ArgumentParser, places: list[str]) -> str:
    options = [action for action in parser._actions if action.option_strings]
    flags = [text for action in options for text in action.option_strings]
    valued = [
        f"{text}:{_kind(action)}" for action in options if action.nargs != 0 for text in action.option_strings
    ]
    lists = {"flags": flags, "valued": valued, "places": places}
    return (
        f"        {label}) " + " ".join(f"{key}=({' '.join(words)})" for key, words in lists.items()) + " ;;"
    )


def _kind(action: argparse.Action) -> str:
    """What is offered for an argument: kinds of the scripts, separated by commas."""
    if action.choices:
        return ",".join(f"word:{choice}" for choice in action.choices)
    words = str(action.metavar or "").translate(str.maketrans("[]|:/", "     ")).split()
    kinds = dict.fromkeys(_KINDS[word] for word in words if word in _KINDS)
    return ",".join(kinds) or "none"
