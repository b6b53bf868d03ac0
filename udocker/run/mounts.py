"""What of the host is shown in the container, and in which order it is mounted."""

from __future__ import annotations

from collections.abc import Iterable

from udocker.errors import UsageError
from udocker.model.mount import Mount
from udocker.system.host import SYSTEM_FILES, HostFacts


def plan_mounts(user: Iterable[Mount], system: bool, facts: HostFacts) -> tuple[Mount, ...]:
    """The host's /proc, /dev and /sys, its files of names (if ``system``) and the user's mounts.

    Parents come before what lies in them.  The user's win: a system path at or below one of their
    targets is left out.  Raises UsageError.
    """
    mounts = tuple(user)
    _refuse_nonsense(mounts)
    taken = [_parts(mount.target) for mount in mounts]
    paths = [path for path in facts.paths if system or path not in SYSTEM_FILES]
    # Read-only, for a caller who is root on the host: the container must not change its files.
    shown = [
        Mount(path, path, read_only=path in SYSTEM_FILES)
        for path in paths
        if not any(_parts(path)[: len(target)] == target for target in taken)
    ]
    return tuple(sorted([*shown, *mounts], key=_depth))


def _refuse_nonsense(mounts: tuple[Mount, ...]) -> None:
    seen: set[tuple[str, ...]] = set()
    for mount in mounts:
        if not (mount.source.startswith("/") and mount.target.startswith("/")):
            raise UsageError(f"volume: {mount}: not absolute paths")
        parts = _parts(mount.target)
        if not parts:
            raise UsageError(f"volume: {mount}: the container's root cannot be replaced")
        if parts in seen:
            raise UsageError(f"volume: {mount.target}: given twice")
        seen.add(parts)


def _depth(mount: Mount) -> int:
    return len(_parts(mount.target))


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part not in ("", "."))
