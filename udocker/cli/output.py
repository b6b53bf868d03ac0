"""What commands say: errors and progress on standard error, results on standard output."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Optional

from udocker.errors import UdockerError
from udocker.model.manifest import Descriptor


def report(program: str, error: UdockerError) -> None:
    """Print a failure in one line, and its hint in another."""
    print(f"{program}: {printable(error.message)}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {printable(error.hint)}", file=sys.stderr)


def printable(text: str) -> str:
    """The text with everything that would act on a terminal escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class LineProgress:
    """One line a layer, for logs and pipes."""

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def start(self, layer: Descriptor, present: bool) -> None:
        """Say what is going to happen."""
        what = "already here" if present else f"pulling {layer.size / 1e6:.1f} MB"
        print(f"{layer.digest.short}: {what}", file=sys.stderr)

    def advance(self, layer: Descriptor, count: int) -> None:
        """Nothing: a line for every block would drown a log."""

    def done(self, layer: Descriptor) -> None:
        """Nothing: the next line tells."""


class BarProgress:
    """A bar a layer, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        text = TextColumn("{task.description}")
        bars = (text, BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*bars, console=Console(stderr=True))
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> BarProgress:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._progress.stop()

    def start(self, layer: Descriptor, present: bool) -> None:
        """Open the layer's bar."""
        done = layer.size if present else 0
        task = self._progress.add_task(layer.digest.short, total=layer.size, completed=done)
        self._tasks[str(layer.digest)] = task

    def advance(self, layer: Descriptor, count: int) -> None:
        """Move it."""
        self._progress.advance(self._tasks[str(layer.digest)], count)

    def done(self, layer: Descriptor) -> None:
        """Fill it."""
        self._progress.update(self._tasks[str(layer.digest)], completed=layer.size)


def progress(quiet: bool) -> Any:
    """What shows a pull's progress here: a context manager, None's equal when quiet."""
    if quiet:
        return Quiet()
    return BarProgress() if sys.stderr.isatty() else LineProgress()


class Quiet(LineProgress):
    """No progress at all."""

    def start(self, layer: Descriptor, present: bool) -> None:
        """Nothing."""
