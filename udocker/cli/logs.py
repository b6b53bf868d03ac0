"""``udocker logs``."""

from __future__ import annotations

import argparse
import re
import sys
import time
from datetime import datetime, timedelta, timezone
from typing import Optional

from udocker.config import Config
from udocker.errors import StoreError, UsageError
from udocker.run.output import Piece, read
from udocker.run.runs import ContainerRuns, LiveRun, directory_of
from udocker.store.store import Store

DESCRIPTION = """Print what a container's last run in the background has printed, each stream to its own.

As much is kept as UDOCKER_OUTPUT_SIZE says, 20 MiB: of more the older half is dropped. It is there until the
container is removed, or run in the background again."""

_UNITS = {"h": "hours", "m": "minutes", "s": "seconds"}
_DURATION = r"(?:\d+(?:\.\d+)?[hms])+"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare docker's options."""
    add = parser.add_argument
    add("-f", "--follow", action="store_true", help="go on until the run ends")
    add("-n", "--tail", default="all", metavar="LINES", help="so many of the last lines only")
    add("-t", "--timestamps", action="store_true", help="with the time before each line")
    add(
        "--since",
        default="",
        metavar="TIME",
        help="from a time on, as 2026-01-31T12:00:00Z, or 10m before now",
    )
    add("container", metavar="CONTAINER")


def run(config: Config, options: argparse.Namespace) -> int:
    """Print what there is, and what comes."""
    tail, since = _tail(options.tail), _since(options.since)
    store = Store.at(config)
    runs = ContainerRuns.of(store, directory_of(store, options.container, "logs"))
    kept = next((run for run in runs.kept if run.has_output), None)
    if kept is None:
        message = f"logs: {options.container}: no run in the background has left any output"
        raise StoreError(message, "udocker run -d keeps what its program prints")
    live = LiveRun(kept.record, kept)
    lives = (lambda: live.is_alive) if options.follow and kept.is_alive else None
    streams = {b"stdout": sys.stdout.buffer, b"stderr": sys.stderr.buffer}
    starts = True
    for piece in read(kept.log, kept.log_before, tail, since, lives):
        stream = streams.get(piece.stream, sys.stdout.buffer)
        stream.write(_text(piece, options.timestamps and starts))
        stream.flush()
        starts = piece.ends
    return 0


def _text(piece: Piece, with_time: bool) -> bytes:
    return (piece.when + b" " if with_time else b"") + piece.text + (b"\n" if piece.ends else b"")


def _tail(text: str) -> Optional[int]:
    if text == "all":
        return None
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise UsageError(f"logs: --tail {text!r}: not a number of lines", "or all")


def _since(text: str) -> bytes:
    """The time as the file has it, empty for all: durations before now, seconds since 1970, or RFC 3339."""
    if not text:
        return b""
    try:
        moment = _moment(text)
        return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f").encode()
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"logs: --since {text!r}: not a time", "as 2026-01-31T12:00:00Z, or 10m") from None


def _moment(text: str) -> datetime:
    if re.fullmatch(_DURATION, text):
        parts = re.findall(r"(\d+(?:\.\d+)?)([hms])", text)
        ago = sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())
        return datetime.fromtimestamp(time.time(), timezone.utc) - ago
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return datetime.fromtimestamp(float(text), timezone.utc)
    # Python before 3.11 does not know Z.  A time without a zone is this host's, as in docker.
    return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
