"""Usual command lines, read by a command's own declarations but without argparse.

Importing it, and making a parser of 40 options, takes longer than all of the run that follows.  What is not
usual is argparse's as ever: help, mistakes, and the rarer ways to write options.
"""

from __future__ import annotations

from udocker.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from typing import Any, Optional
else:
    from types import SimpleNamespace as Namespace

# The actions that there may be; those with True take a value.
_ACTIONS = {"store": True, "append": True, "store_true": False, "store_const": False}


@dataclass(frozen=True)
class _Option:
    action: str
    dest: str
    const: Any

    @property
    def takes_value(self) -> bool:
        return _ACTIONS[self.action]


class Declarations:
    """Stands for a parser where a command declares its arguments, and reads usual lines by them.

    There are the settings of ``ArgumentParser.add_argument`` that are used.  ``REST`` is for all words that
    are left, ``HIDDEN`` the help of what is not in the help.
    """

    REST, HIDDEN = "rest", ""

    def __init__(self) -> None:
        self._options: dict[str, _Option] = {}
        self._places: list[tuple[str, Optional[str]]] = []
        self._defaults: dict[str, Any] = {}

    def add_argument_group(self, title: str) -> Declarations:
        """Groups are for the help."""
        return self

    def add_argument(
        self,
        *names: str,
        action: str = "store",
        default: Any = None,
        const: Any = None,
        dest: str = "",
        nargs: Optional[str] = None,
        metavar: str = "",
        help: str = "",
    ) -> None:
        """Declare an option, or a word that stands at a place of its own."""
        if not names[0].startswith("-"):
            self._places.append((names[0], nargs))
            return
        dest = dest or next((name for name in names if name.startswith("--")), names[0])
        dest = dest.lstrip("-").replace("-", "_")
        option = _Option(action, dest, True if action == "store_true" else const)
        self._options.update((name, option) for name in names)
        self._defaults.setdefault(dest, False if action == "store_true" else default)

    def read(self, words: Sequence[str]) -> Optional[Namespace]:
        """What argparse would make of the words; None where only argparse can tell."""
        values = dict(self._defaults)
        position = 0
        while position < len(words) and words[position].startswith("-"):
            option, equals, text = self._split(words[position])
            position += 1
            if option is None or text == "--" or (equals and not option.takes_value):
                return None
            if option.takes_value and not equals:
                text = words[position] if position < len(words) else "-"
                if text.startswith("-"):
                    return None
                position += 1
            if option.action == "append":
                values[option.dest] = [*values[option.dest], text]
            else:
                values[option.dest] = text if option.takes_value else option.const
        rest = words[position:]
        # What a "--" is, as a word or as a value, differs from one version of Python to the next.
        return None if "--" in words or not self._place(rest, values) else Namespace(**values)

    def _split(self, word: str) -> tuple[Optional[_Option], str, str]:
        """The option of a word, and the value that follows an equals sign in it."""
        if word in self._options:
            return self._options[word], "", ""
        name, equals, text = word.partition("=")
        return self._options.get(name) if name.startswith("--") else None, equals, text

    def _place(self, words: Sequence[str], values: dict[str, Any]) -> bool:
        """Give the words their places; whether that is a usual line."""
        if not self._places:
            return not words
        if [nargs for _, nargs in self._places] != ["?", self.REST] or not words or not words[0]:
            return False
        (first, _), (second, _) = self._places
        values[first], values[second] = words[0], list(words[1:])
        return True
