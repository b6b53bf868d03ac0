"""Lists of processors, in the syntax of ``docker run --cpuset-cpus`` (cpuset(7), section List format)."""

from __future__ import annotations

from udocker.errors import UsageError

# More than any kernel is built for (CONFIG_NR_CPUS is 8192 at most on x86), and a bound on a range's length.
_NUMBER_MAX = 65535


def parse_cpus(text: str) -> frozenset[int]:
    """The processors in ``0,2,4-7``; raises UsageError."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = _number(text, first), _number(text, last if dash else first)
        if low > high:
            raise _bad(text, f"{part}: the range runs backwards")
        found.update(range(low, high + 1))
    return frozenset(found)


def format_cpus(cpus: frozenset[int]) -> str:
    """The shortest list of the processors: ``0,2,4-7``."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and parts[-1][1] == cpu - 1:
            parts[-1][1] = cpu
        else:
            parts.append([cpu, cpu])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)


def _number(text: str, word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise _bad(text, f"{word!r} is not a number")
    value = int(word) if len(word) < 10 else _NUMBER_MAX + 1
    if value > _NUMBER_MAX:
        raise _bad(text, f"{word[:20]}: no machine has so many processors")
    return value


def _bad(text: str, cause: str) -> UsageError:
    return UsageError(f"run: --cpuset-cpus {text!r}: {cause}", "write a list such as 0,2,4-7")
