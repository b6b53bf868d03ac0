"""What the documents for users say is what the programs do."""

from __future__ import annotations

import errno
import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from udocker.cli.main import COMMANDS
from udocker.cli.parser import Parser

CHECKOUT = Path(__file__).parents[2]
SOURCES = [path for suffix in ("py", "c") for path in (CHECKOUT / "udocker").rglob(f"*.{suffix}")]
SYSTEMS_OWN = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)]
SYSTEMS_OWN += [os.strerror(errno.ENOENT), "unrecognized arguments"]  # the latter is argparse's
# What stands for something else in a message.
PLACEHOLDER = re.compile(r"\.\.\.|'?\b(?:NAME|FILE|MODE)\b'?")


def messages() -> Iterator[str]:
    """The messages in the first columns of docs/errors.md, from its tables on."""
    text = (CHECKOUT / "docs" / "errors.md").read_text(encoding="utf-8")
    for line in text.partition("## Command lines")[2].splitlines():
        if line.startswith("| `"):
            yield from re.findall(r"`([^`]+)`", line.split(" | ")[0])


@pytest.fixture(scope="module")
def sources() -> str:
    text = "".join(path.read_text(encoding="utf-8") for path in SOURCES)
    return re.sub(r'"\n\s*f?"', "", text) + "".join(SYSTEMS_OWN)  # strings in several lines


@pytest.mark.parametrize("message", list(messages()))
def test_a_message_in_the_table_of_errors_exists(sources: str, message: str) -> None:
    parts = [part.strip(" :") for part in PLACEHOLDER.split(message)]
    assert any(parts), message
    for part in parts:
        assert part in sources


def guided_options() -> Iterator[tuple[str, str]]:
    """Every command of the user guide's scripts with every long option that it is given there."""
    text = (CHECKOUT / "docs" / "user-guide.md").read_text(encoding="utf-8")
    for script in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for command, rest in re.findall(r"(?<![\w=])udocker ([a-z]+)([^|;&>\n]*)", script):
            yield from ((command, option) for option in re.findall(r"(?<=\s)--[a-z-]+", rest) or [""])


@pytest.mark.parametrize(("command", "option"), sorted(set(guided_options())))
def test_a_command_of_the_user_guide_has_its_options(command: str, option: str) -> None:
    parser = Parser(prog=command)
    module = importlib.import_module(f"udocker.cli.{COMMANDS[command][0]}")
    module.add_arguments(parser)
    assert not option or any(name.split("=")[0] == option for name in parser._option_string_actions)
