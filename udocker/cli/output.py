"""What commands say: errors and progress on standard error, results on standard output."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Optional, TextIO

from udocker.errors import UdockerError
from udocker.log import configure
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
    """One line a layer, for logs and pipes: once it is there."""

    def __init__(self) -> None:
        self._begun: dict[str, float] = {}
        self._waited: set[str] = set()

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def start(self, layer: Descriptor, present: bool) -> None:
        """Say so where nothing is to be done."""
        self._begun[str(layer.digest)] = time.monotonic()
        if present:
            self._say(layer, "already here")

    def waits(self, layer: Descriptor) -> None:
        """Nothing now: the layer's line will tell."""
        self._waited.add(str(layer.digest))

    def advance(self, layer: Descriptor, count: int) -> None:
        """Nothing to say: a line for every block would drown a log."""
        self._waited.discard(str(layer.digest))

    def done(self, layer: Descriptor) -> None:
        """Say how much came in what time."""
        digest = str(layer.digest)
        how = "fetched by another process, waited" if digest in self._waited else "pulled in"
        seconds = time.monotonic() - self._begun[digest]
        self._say(layer, f"{layer.size / 1e6:.1f} MB, {how} {seconds:.1f} s")

    def _say(self, layer: Descriptor, what: str) -> None:
        # In one call, because several threads write.
        sys.stderr.write(f"{layer.digest.short}: {what}\n")


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
        before = sys.stderr
        self._progress.start()
        # Messages go above the bars, which standard error now does and its old self would not.
        _redirect_messages(before, sys.stderr)
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        during = sys.stderr
        self._progress.stop()
        _redirect_messages(during, sys.stderr)

    def start(self, layer: Descriptor, present: bool) -> None:
        """Open the layer's bar."""
        done = layer.size if present else 0
        words = f"{layer.digest.short} already here" if present else layer.digest.short
        self._tasks[str(layer.digest)] = self._progress.add_task(words, total=layer.size, completed=done)

    def waits(self, layer: Descriptor) -> None:
        """Say why it stands still."""
        words = f"{layer.digest.short} fetched by another process"
        self._progress.update(self._tasks[str(layer.digest)], description=words)

    def advance(self, layer: Descriptor, count: int) -> None:
        """Move it."""
        self._progress.update(self._tasks[str(layer.digest)], advance=count, description=layer.digest.short)

    def done(self, layer: Descriptor) -> None:
        """Fill it."""
        self._progress.update(
            self._tasks[str(layer.digest)], completed=layer.size, description=layer.digest.short
        )


def _redirect_messages(before: TextIO, after: TextIO) -> None:
    import logging

    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(after)


def progress(quiet: bool) -> Any:
    """What shows a pull's progress here: a context manager, None's equal when quiet."""
    import logging  # noqa: F401 - what registries have to say is said through it

    configure(debug=False)
    if quiet:
        return Quiet()
    return BarProgress() if sys.stderr.isatty() else LineProgress()


class Quiet(LineProgress):
    """No progress at all."""

    def start(self, layer: Descriptor, present: bool) -> None:
        """Nothing."""

    def done(self, layer: Descriptor) -> None:
        """Nothing."""
