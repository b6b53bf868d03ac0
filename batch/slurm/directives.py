"""sbatch's options, as far as this package has to read or change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from ..errors import InvalidJob


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
WRAP = Option("wrap")

# sbatch's letters that take no value: what follows one in the same word is another letter (sbatch(1)).
_FLAGS = frozenset("hHIkOQsvVW")
# Its long options that take no value, or only one joined by "=".
_LONG_FLAGS = frozenset(
    [
        "contiguous",
        "exclusive",
        "get-user-env",
        "help",
        "hold",
        "ignore-pbs",
        "immediate",
        "nice",
        "no-kill",
        "no-requeue",
        "overcommit",
        "oversubscribe",
        "parsable",
        "propagate",
        "quiet",
        "reboot",
        "requeue",
        "share",
        "spread-job",
        "test-only",
        "usage",
        "use-min-nodes",
        "verbose",
        "version",
        "wait",
    ]
)


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


def split_flag(arguments: Sequence[str], name: str, letter: str = "") -> tuple[bool, tuple[str, ...]]:
    """Whether the option ``name``, which takes no value, is given, and the other arguments."""
    found = False
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        takes_next = _takes_next(word)
        if word == f"--{name}":
            found = True
            continue
        flags = _leading_flags(word)
        if letter and letter in flags:
            found = True
            word = f"-{flags.replace(letter, '')}{word[1 + len(flags) :]}"
        if word != "-":
            rest.append(word)
        if takes_next and words:
            rest.append(words.pop(0))
    return found, tuple(rest)


def refuse_script(arguments: Sequence[str]) -> None:
    """Raise InvalidJob for a command among sbatch's options: it would run in place of ours, in no image."""
    hint = "put the command after --, as in: -- python3 x.py"
    if split_option(arguments, WRAP)[0] is not None:
        raise InvalidJob("submit: --wrap: would run outside the image", hint)
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word in ("-", "--"):
            raise InvalidJob(f"submit: {word!r}: not an option", hint)
        if _takes_next(word) and words:
            words.pop(0)


def _takes_next(word: str) -> bool:
    """Whether sbatch takes the word after this one for its value."""
    if word.startswith("--"):
        return "=" not in word and word[2:] not in _LONG_FLAGS
    return word.startswith("-") and len(word) == 2 + len(_leading_flags(word))


def _leading_flags(word: str) -> str:
    """The letters without a value that a word of one dash begins with."""
    if not word.startswith("-") or word.startswith("--"):
        return ""
    return word[1 : len(word) - len(word[1:].lstrip("".join(_FLAGS)))]


def _has_letter(word: str, letter: str) -> bool:
    if not word.startswith("-") or word.startswith("--"):
        return False
    flags, found, _ = word[1:].partition(letter)
    return bool(found) and set(flags) <= _FLAGS
