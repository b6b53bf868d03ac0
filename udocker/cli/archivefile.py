"""Archives that commands read and write: standard streams, and files that appear when they are whole."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from udocker.errors import NotFoundError, StoreCorrupt, StoreError, UnpackError, UsageError, from_os_error
from udocker.system.files import discard, discard_leftovers, unique_name

STANDARD = "-"
_GIVE = f"give a file that is there and that you can read, or {STANDARD} for standard input"
# What errors about the content of an archive begin with, where they do not know its name.
_UNNAMED = ("archive: ", "unpack: ", "import: ", "manifest: ", "image configuration: ")
# How a layer of the store is told, and what is done about it; an archive is neither.
_LAYER, _LAYER_HINT = " (layer ", "damaged? udocker verify"


@contextmanager
def open_input(act: str, name: str) -> Iterator[BinaryIO]:
    """Open ``name`` for ``act``; ``-`` is standard input, which must not be a terminal.

    Raises NotFoundError, StoreError, UsageError.
    """
    if name == STANDARD:
        if sys.stdin.isatty():
            raise UsageError(f"{act}: standard input is a terminal", "give a file, or a pipe")
        yield sys.stdin.buffer
        return
    try:
        stream = open(name, "rb")  # noqa: SIM115 - the errors of the block are not those of opening
    except FileNotFoundError:
        raise NotFoundError(f"{act}: {name}: no such file", _GIVE) from None
    except OSError as error:
        raise StoreError(f"{act}: {name}: {error.strerror}", _GIVE) from error
    with stream:
        yield stream


@contextmanager
def naming(act: str, name: str, hint: str) -> Iterator[None]:
    """Let what is wrong with the archive ``name`` be told with its name, and ``hint`` where there is none."""
    try:
        yield
    except (StoreCorrupt, UnpackError) as error:
        prefix = next((prefix for prefix in _UNNAMED if error.message.startswith(prefix)), None)
        if prefix is not None:
            kept = prefix if prefix.startswith(("manifest", "image")) else ""
            cause = kept + error.message[len(prefix) :].partition(_LAYER)[0]
            error.message = f"{act}: {'standard input' if name == STANDARD else name}: {cause}"
        if not error.hint or error.hint.startswith(_LAYER_HINT):
            error.hint = hint
        raise


@contextmanager
def open_output(act: str, name: str, replace: bool) -> Iterator[BinaryIO]:
    """Open ``name`` for ``act``; ``-`` is standard output, which must not be a terminal.

    A file is renamed into place at the end and left out where the block raises; what is no plain file, as
    ``/dev/null``, is written to.  Raises UsageError where the file is there and ``replace`` is not set,
    StoreError for what the system refuses.
    """
    if name == STANDARD:
        if sys.stdout.isatty():
            raise UsageError(f"{act}: standard output is a terminal", "write to a file with -o")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    try:
        if not _is_new(path):
            if not stat.S_ISREG(path.stat().st_mode):
                with path.open("wb") as stream:
                    yield stream
                return
            if not replace:
                raise UsageError(
                    f"{act}: {name}: the file is there already", "remove it, or choose another name"
                )
            path = path.resolve()  # a link stays a link
        with _new_file(path) as stream:
            yield stream
    except OSError as error:
        failure = from_os_error(act, error, name, "write to another place with -o")
        failure.hint = failure.hint or "give a file in a directory that is there"
        raise failure from error


def _is_new(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return True
    return False


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    prefix = f".{path.name[:100]}."
    discard_leftovers(path.parent, prefix)
    temporary = path.with_name(unique_name(prefix))
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, path)
    finally:
        discard(temporary)
