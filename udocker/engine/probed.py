"""Which mode was found to work on this host, so that a run need not try.

One small file a user and a host, in a directory on the node.  It holds for the boot, the kernel, its settings
and the engines that it was written for, and for a day; anything else in it, or somebody else's, is as good as
none.  It only ever names a mode to prefer: what that is allowed is the kernel's to say.
"""

from __future__ import annotations

import os
import stat
import time

from udocker.engine.binaries import PACKAGE, SUMS, installed_directory
from udocker.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from typing import Optional

    from _typeshed import StrPath

_SECONDS = 24 * 3600
_SIZE = 4096
_SHARED = ("/tmp", "/var/tmp")

# What an administrator can change under us.
_SETTINGS = (
    "/proc/sys/kernel/random/boot_id",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
)


@dataclass(frozen=True)
class Probed:
    """The file, and what it must begin with to be believed."""

    path: str
    key: str

    @classmethod
    def here(cls, store: Optional[StrPath] = None) -> Probed:
        """That of this user on this host, for the package's engines or those installed in a store."""
        return cls(f"{_directory()}/udocker-{os.geteuid()}.engine", _key(store))

    def read(self) -> str:
        """The mode's name; empty where there is nothing to be believed."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return ""
        try:
            if not _is_own(os.fstat(file)):
                return ""
            text = os.read(file, _SIZE).decode("ascii", "replace")
        except OSError:
            return ""
        finally:
            os.close(file)
        key, _, name = text.rpartition("\n")
        return name if key == self.key else ""

    def write(self, name: str) -> None:
        """Remember; a host on which that is not possible is asked again each time."""
        temporary = f"{self.path}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file = os.open(temporary, flags, 0o600)
        except OSError:
            return
        try:
            os.write(file, f"{self.key}\n{name}".encode("ascii", "replace"))
            os.rename(temporary, self.path)
        except OSError:
            os.unlink(temporary)
        finally:
            os.close(file)


def _is_own(info: os.stat_result) -> bool:
    age = time.time() - info.st_mtime
    private = info.st_uid == os.geteuid() and not info.st_mode & 0o022
    return private and stat.S_ISREG(info.st_mode) and 0 <= age < _SECONDS


def _directory() -> str:
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    if own.startswith("/") and os.access(own, os.W_OK):
        return own
    return next((path for path in _SHARED if os.access(path, os.W_OK)), _SHARED[0])


def _key(store: Optional[StrPath]) -> str:
    host = os.uname()
    places = (PACKAGE, *([installed_directory(store)] if store is not None else []))
    parts = [host.nodename, host.release, host.version, *map(_content, _SETTINGS), *map(_state, places)]
    return "\n".join(parts)


def _content(path: str) -> str:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return "-"
    try:
        return os.read(file, _SIZE).decode("ascii", "replace").strip()
    except OSError:
        return "-"
    finally:
        os.close(file)


def _state(directory: StrPath) -> str:
    """Which programs lie there: a build or an installation writes the list of their sums anew."""
    try:
        info = os.stat(os.path.join(directory, SUMS))
    except OSError:
        return "-"
    return f"{info.st_dev}.{info.st_ino}.{info.st_mtime_ns}"
