"""sbatch's options, as far as this package has to read or change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Option:
    """An option of sbatch that takes a value: its long name, and its letter where it has one."""

    name: str
    letter: str = ""


ARRAY = Option("array", "a")
CHDIR = Option("chdir", "D")
DEPENDENCY = Option("dependency", "d")
ERROR = Option("error", "e")
JOB_NAME = Option("job-name", "J")
NODES = Option("nodes", "N")
NTASKS = Option("ntasks", "n")
NTASKS_PER_NODE = Option("ntasks-per-node")
OUTPUT = Option("output", "o")

# sbatch's letters that take no value: what follows one in the same word is another letter (sbatch(1)).
_FLAGS = frozenset("hHIkOQsvVW")


def split_option(arguments: Sequence[str], option: Option) -> tuple[Optional[str], tuple[str, ...]]:
    """The option's last value in sbatch's arguments, None where it is not given, and the other arguments.

    Understands ``--name=V``, ``--name V``, ``-l V``, ``-lV`` and ``-HlV``.
    """
    value: Optional[str] = None
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word == f"--{option.name}" and words:
            value = words.pop(0)
        elif word.startswith(f"--{option.name}="):
            value = word.partition("=")[2]
        elif option.letter and _has_letter(word, option.letter):
            flags, _, joined = word[1:].partition(option.letter)
            if flags:
                rest.append(f"-{flags}")
            value = joined if joined or not words else words.pop(0)
        else:
            rest.append(word)
    return value, tuple(rest)


def has_flag(arguments: Sequence[str], name: str) -> bool:
    """Whether the long option ``name``, which takes no value, is given."""
    return f"--{name}" in arguments


def _has_letter(word: str, letter: str) -> bool:
    if not word.startswith("-") or word.startswith("--"):
        return False
    flags, found, _ = word[1:].partition(letter)
    return bool(found) and set(flags) <= _FLAGS
