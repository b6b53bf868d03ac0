"""What of the host is shown in the container, and in which order it is mounted."""

from __future__ import annotations

import os
from collections.abc import Iterable

from udocker.errors import UsageError
from udocker.log import Log
from udocker.model.mount import Mount
from udocker.system.host import SYSTEM_FILES, HostFacts

_LOG = Log(__name__)


def plan_mounts(
    user: Iterable[Mount], system: bool, facts: HostFacts, excluded: Iterable[str] = ()
) -> tuple[Mount, ...]:
    """The host's /proc, /dev and /sys and its files of names (if ``system``), and the user's mounts.

    Parents come before what lies in them.  The user's win: a system path at or below one of their
    targets is left out.  ``excluded`` names what is not to be mounted after all, by SOURCE or
    SOURCE:TARGET.  Raises UsageError.
    """
    mounts = tuple(dict.fromkeys(user))
    _refuse_nonsense(mounts)
    taken = [_parts(mount.target) for mount in mounts]
    # Read-only, for a caller who is root on the host: the container must not change its files.
    shown = [
        Mount(path, path, read_only=path in SYSTEM_FILES)
        for path in (facts.paths if system else ())
        if not is_within(path, taken)
    ]
    return tuple(sorted(_without([*shown, *mounts], excluded), key=_depth))


def plan_devices(devices: Iterable[Mount], system: bool) -> tuple[Mount, ...]:
    """The mounts that devices need beside the host's /dev, which is shown whole if ``system``.

    Raises UsageError for a device that the host lacks.
    """
    made = []
    for device in devices:
        if not os.path.exists(device.source):
            raise UsageError(f"run: --device {device.source}: this host has no such device")
        if device.source == device.target and system:
            continue
        if system and device.target.startswith("/dev/") and not os.path.exists(device.target):
            message = f"run: --device {device}: the host's /dev is shown as it is, and has no {device.target}"
            raise UsageError(message, "choose a target outside /dev, or --nosysdirs")
        made.append(device)
    return tuple(made)


def plan_volumes(volumes: Iterable[str], mounts: Iterable[Mount]) -> tuple[str, ...]:
    """The directories that an image wants as volumes, but for those that lie in a mount."""
    taken = [_parts(mount.target) for mount in mounts]
    wanted = sorted({"/" + "/".join(_parts(path)) for path in volumes if _parts(path)})
    return tuple(path for path in wanted if not is_within(path, taken))


def is_within(path: str, places: Iterable[tuple[str, ...]]) -> bool:
    """Whether a path is one of ``places``, given by their components, or lies below one."""
    parts = _parts(path)
    return any(parts[: len(place)] == place for place in places)


def _without(mounts: list[Mount], excluded: Iterable[str]) -> list[Mount]:
    for text in excluded:
        names = (text, "/" + "/".join(_parts(text))) if text.startswith("/") and ":" not in text else (text,)
        left = [
            mount for mount in mounts if not {mount.source, f"{mount.source}:{mount.target}"} & set(names)
        ]
        if len(left) == len(mounts):
            _LOG.warning("run: --novol %s: nothing that would be mounted", text)
        mounts = left
    return mounts


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
