"""The lines of a script that sbatch reads options from: ``#SBATCH`` and ``#PBS`` (sbatch(1))."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from .options import PBS, SBATCH, Given, Line, Syntax

_PREFIXES = {"#SBATCH": SBATCH, "#PBS": PBS, "#BSUB": Syntax({}, {})}
# What begins the second job of a heterogeneous one; what follows is not the first one's.
_NEXT_JOB = ("hetjob", "packjob")


def directives(script: str) -> tuple[str, ...]:
    """The lines of a script from which sbatch takes options, as they are; it looks no further than the
    first line that is neither a comment nor empty."""
    return tuple(line for line in _head(script) if line.startswith(tuple(_PREFIXES)))


def read_directives(lines: Sequence[str], *, pbs: bool = True) -> Line:
    """The options of the lines; sbatch reads those of ``#PBS`` last, so that they are the stronger."""
    given: list[Given] = []
    for prefix in ("#SBATCH", "#PBS"):
        if prefix == "#PBS" and not pbs:
            continue
        for line in lines:
            words = _words(line.removeprefix(prefix)) if line.startswith(prefix) else []
            if words[:1] and words[0] in _NEXT_JOB:
                break
            given.extend(_PREFIXES[prefix].read(words).given)
    return Line(tuple(given))


def without_option(lines: Sequence[str], name: str) -> tuple[str, ...]:
    """The lines, without one of sbatch's options in those that have it."""
    kept = []
    for line in lines:
        read = SBATCH.read(_words(line.removeprefix("#SBATCH"))) if line.startswith("#SBATCH") else Line(())
        if read.last(name) is None:
            kept.append(line)
        elif words := read.words({name}):
            kept.append(f"#SBATCH {shlex.join(words)}")
    return tuple(kept)


def _head(script: str) -> Iterator[str]:
    for line in script.split("\n"):
        if line.strip() and not line.startswith("#"):
            return
        yield line


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return []  # a quote that is not closed is for sbatch to tell
