"""Passwords on disk: the file of udocker 1.3, so that both programs can use one.

It is a JSON object of ``{address: {"auth": base64 of user:password, "email": ""}}``, for its owner alone.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from udocker.errors import ConfigError, from_os_error
from udocker.registry.credentials import Credentials, json_object, keys_of
from udocker.system.files import discard_leftovers, write_atomically

_PRIVATE = 0o600
_ELSEWHERE = "let UDOCKER_KEYSTORE name another file"
_HINT = "udocker logout -a removes it"


class Keystore:
    """One keystore file; what other programs wrote in it is kept.  Raises ConfigError, StoreError."""

    def __init__(self, path: Path) -> None:
        # A link to the file stays one.
        self._path = Path(os.path.realpath(path))

    def put(self, registry: str, credentials: Credentials) -> None:
        """Keep credentials for ``registry``, in place of those it had."""
        with self._locked():
            entries = self._read()
            for key in keys_of(entries, registry):
                del entries[key]
            # udocker 1.3 looks for exactly this address.
            entries[f"https://{registry}"] = {"auth": credentials.encoded, "email": ""}
            self._write(entries)

    def delete(self, registry: str) -> bool:
        """Forget the credentials for ``registry``; False where there were none."""
        with self._locked():
            entries = self._read()
            keys = keys_of(entries, registry)
            for key in keys:
                del entries[key]
            if keys:
                self._write(entries)
        return bool(keys)

    def erase(self) -> None:
        """Forget all credentials, also those of a file that cannot be read."""
        with self._locked():
            self._path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        return json_object(self._path, _HINT)

    def _write(self, entries: dict[str, Any]) -> None:
        discard_leftovers(self._path.parent, f".{self._path.name}.")
        write_atomically(self._path, json.dumps(entries).encode(), _PRIVATE)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one writer at a time read and write, on all nodes (lockf works on NFS, flock need not)."""
        directory = self._path.parent
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(directory / f".{self._path.name}.lock", os.O_RDWR | os.O_CREAT, _PRIVATE)
            with os.fdopen(lock, "wb") as file:
                fcntl.lockf(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            failure = from_os_error("keystore", error, str(self._path), _ELSEWHERE)
            raise ConfigError(failure.message, failure.hint or _ELSEWHERE) from error
