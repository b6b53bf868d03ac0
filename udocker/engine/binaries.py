"""Where the native programs lie: in the package, or where ``udocker install`` put others.

Beside the programs lies ``SHA256SUMS``, in the format of sha256sum(1), made when the package was built.
Programs of another directory are checked against theirs before they are used, and have to be of these names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from udocker.errors import EngineUnavailable
from udocker.system.files import is_file
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional

    from _typeshed import StrPath

SUMS = "SHA256SUMS"
PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "native", "bin")
_AGAIN = "install the package again with pip, which builds or brings it"
_REMOVE = "udocker install --purge removes it, udocker install --from installs it anew"


def installed_directory(store: StrPath) -> str:
    """The directory in a store, in truth a link, that ``udocker install --from`` fills."""
    return os.path.join(store, "bin", "engines")


def locate(program: str, directory: StrPath = PACKAGE, installed: Optional[StrPath] = None) -> str:
    """The native program's path; raises EngineUnavailable where it is missing or cannot be executed.

    One in ``installed`` is preferred, and refused where it is not what was installed.
    """
    if installed is not None and os.path.lexists(os.path.join(installed, program)):
        verify(program, installed, _REMOVE)
        directory = installed
    path = os.path.join(directory, program)
    if not is_file(path):
        raise EngineUnavailable(f"engine: {path}: this installation lacks its native program", _AGAIN)
    # access(2) also refuses where the file system is mounted noexec.
    if not os.access(path, os.X_OK):
        raise EngineUnavailable(
            f"engine: {path}: cannot be executed", "give it x permission, or install where noexec is not set"
        )
    return path


def verify(program: str, directory: StrPath = PACKAGE, hint: str = _AGAIN) -> None:
    """Raise EngineUnavailable where a program is not the one that the directory's sums are of."""
    import hashlib  # the package's own programs start without OpenSSL

    path = os.path.join(directory, program)
    try:
        with open(path, "rb") as file:
            found = hashlib.sha256(file.read()).hexdigest()
    except OSError as error:
        raise EngineUnavailable(f"engine: {path}: {error.strerror}", hint) from error
    if sums(directory, hint).get(program) != found:
        raise EngineUnavailable(f"engine: {path}: its checksum is not the one that was recorded", hint)


def sums(directory: StrPath = PACKAGE, hint: str = _AGAIN) -> Mapping[str, str]:
    """Every program of a directory and its SHA-256; raises EngineUnavailable."""
    path = os.path.join(directory, SUMS)
    try:
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineUnavailable(f"engine: {path}: {error}", hint) from error
    pairs = [line.split("  ", 1) for line in lines]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise EngineUnavailable(f"engine: {path}: not a list of checksums", hint)
    return {name: digest for digest, name in pairs}
