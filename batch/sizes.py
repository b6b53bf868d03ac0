"""Amounts of memory and time as people write them in job files."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SUFFIXED = re.compile(r"(\d{1,9})\s*([smhd])", re.IGNORECASE | re.ASCII)
_CLOCK = re.compile(r"(?:(\d{1,6})-)?(\d{1,6})(?::(\d{1,2}))?(?::(\d{1,2}))?", re.ASCII)


def parse_size(text: str) -> int:
    """``4G``, ``500MiB``, ``1.5T`` or plain bytes, in powers of 1024; raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a size such as 4G or 500M")
    return int(float(match[1]) * _FACTORS[match[2].lower()])


def parse_seconds(text: str) -> int:
    """``90s``, ``30m``, ``2h``, ``1d``, or sbatch's forms (sbatch(1), --time): minutes, ``MM:SS``,
    ``HH:MM:SS``, ``D-HH``, ``D-HH:MM``, ``D-HH:MM:SS``; raises ValueError."""
    suffixed = _SUFFIXED.fullmatch(text.strip())
    if suffixed:
        return int(suffixed[1]) * _UNITS[suffixed[2].lower()]
    clock = _CLOCK.fullmatch(text.strip())
    if clock is None:
        raise ValueError("not a time such as 30m, 2h or 1-12:00:00")
    days, *parts = clock.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None:
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
        return ((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds
    if len(numbers) == 1:
        return numbers[0] * 60
    hours, minutes, seconds = (0, 0, *numbers)[-3:]
    return (hours * 60 + minutes) * 60 + seconds
