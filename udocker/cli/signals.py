"""Signals by name or number, as docker takes them."""

from __future__ import annotations

import re
import signal

from udocker.errors import UsageError

_REAL_TIME = r"SIGRTMIN\+(\d{1,2})|SIGRTMAX-(\d{1,2})"


def signal_number(act: str, text: str) -> int:
    """The signal of ``TERM``, ``SIGTERM``, ``term``, ``15`` or ``RTMIN+3``; raises UsageError."""
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    match = re.fullmatch(_REAL_TIME, name)
    if match:
        number = signal.SIGRTMIN + int(match[1]) if match[1] else signal.SIGRTMAX - int(match[2])
    elif text.isascii() and text.isdigit() and len(text) < 4:
        number = int(text)
    else:
        number = getattr(signal.Signals, name, 0)
    if 0 < number <= signal.SIGRTMAX:
        return int(number)
    raise UsageError(f"{act}: {text!r}: not a signal", "see kill -l")
