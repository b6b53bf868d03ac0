"""Bind mounts, in the syntax of ``docker run --volume``."""

from __future__ import annotations

import os

from udocker.errors import UsageError
from udocker.values import dataclass


@dataclass(frozen=True)
class Mount:
    """The host's ``source`` shown at the container's ``target``; both are absolute paths."""

    source: str
    target: str
    read_only: bool = False

    @classmethod
    def parse(cls, text: str, cwd: str) -> Mount:
        """Read ``SOURCE[:TARGET][:ro|rw]``; a relative SOURCE is taken from ``cwd``.

        Without TARGET the source appears under its own path, as udocker does.  Raises UsageError.
        """
        parts = text.split(":")
        if len(parts) == 2 and not parts[1]:
            parts.pop()  # "/data:" is "/data" to udocker 1.3
        options = parts.pop().split(",") if len(parts) > 1 and not parts[-1].startswith("/") else []
        unknown = [option for option in options if option not in ("ro", "rw", "z", "Z")]
        if unknown and len(parts) == 1:
            hint = "the path in the container begins with /, options are ro and rw"
            raise UsageError(f"volume: {text!r}: {':'.join(unknown)!r}: neither a path nor an option", hint)
        if unknown:
            raise UsageError(f"volume: {text!r}: unknown option {unknown[0]!r}", "use ro or rw")
        if len(parts) > 2 or not parts[0]:
            raise UsageError(f"volume: {text!r}: not of the form SOURCE[:TARGET][:ro]")
        source = os.path.normpath(os.path.join(cwd, parts[0]))
        target = parts[1] if len(parts) == 2 else source
        if "\0" in text:
            raise UsageError("volume: a path holds a NUL byte")
        return cls(source, os.path.normpath(target), "ro" in options)

    @classmethod
    def parse_device(cls, text: str) -> Mount:
        """Read ``DEVICE[:TARGET][:rwm]``, as ``docker run --device`` takes it; raises UsageError.

        The permissions are the host's, whatever ``rwm`` says: they are checked and passed over.
        """
        source, *rest = text.split(":")
        permissions = rest.pop() if rest and not rest[-1].startswith("/") else "rwm"
        if len(rest) > 1 or not permissions or set(permissions) - set("rwm"):
            raise UsageError(f"device: {text!r}: not of the form DEVICE[:TARGET][:rwm]")
        if not source.startswith("/dev/") or ".." in source.split("/") or "\0" in text:
            raise UsageError(f"device: {text!r}: not a path below /dev")
        return cls(os.path.normpath(source), os.path.normpath(rest[0] if rest else source))

    def __str__(self) -> str:
        return f"{self.source}:{self.target}" + (":ro" if self.read_only else "")
