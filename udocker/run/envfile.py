"""Files of variables, in the format of ``docker run --env-file``."""

from __future__ import annotations

import os
from collections.abc import Mapping

from udocker.errors import UsageError

# More than the kernel passes to a program.
SIZE_MAX = 16 * 1024 * 1024
_HINT = "give the path of a file with a line NAME=VALUE for each variable"
_BLANKS = " \t\v\f\r"


def read_env_file(path: str, environ: Mapping[str, str], act: str = "run") -> tuple[tuple[str, str], ...]:
    """The variables of a file, in its order, for the command ``act``.

    A line is ``NAME=VALUE``, value as it stands, without quotation; or ``NAME``, for the value in
    ``environ``, if any; empty lines and those that begin with ``#`` say nothing.  Raises UsageError naming
    the line.
    """
    what = f"{act}: --env-file {path}"
    try:
        with open(path, "rb") as stream:
            data = stream.read(SIZE_MAX + 1)
    except OSError as error:
        raise UsageError(f"{what}: {error.strerror}", _HINT) from error
    if len(data) > SIZE_MAX:
        raise UsageError(f"{what}: larger than {SIZE_MAX} bytes")
    found = []
    for number, line in enumerate(os.fsdecode(data.removeprefix(b"\xef\xbb\xbf")).split("\n"), start=1):
        text = line.removesuffix("\r").lstrip(_BLANKS)
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        _check_name(what, number, name)
        if equals:
            found.append((name, value))
        elif name in environ:
            found.append((name, environ[name]))
    return tuple(found)


def _check_name(what: str, number: int, name: str) -> None:
    if not name:
        cause = "no name before the ="
    elif any(char in _BLANKS for char in name):
        cause = f"{name[:80]!r}: a name with blanks in it"
    elif "\0" in name:
        cause = "a NUL byte"
    else:
        return
    raise UsageError(f"{what}: line {number}: {cause}", "write NAME=VALUE, one a line")
