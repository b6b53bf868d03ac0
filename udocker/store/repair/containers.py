"""Containers that are half made, half removed or damaged, and names of nothing."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Optional

from udocker.errors import NotFoundError, StoreCorrupt, UdockerError
from udocker.model.manifest import ImageConfig
from udocker.model.reference import ImageReference
from udocker.store.compression import open_layer
from udocker.store.containers import CONFIG, IMAGE, ROOT
from udocker.store.limits import Budget, Limits
from udocker.store.names import link_target
from udocker.store.protection import is_protected
from udocker.store.repair.finding import UNSURE, Inspection, Trouble
from udocker.store.tarstream import TarReader
from udocker.system.files import write_atomically

# What udocker 1.3 writes into a clone until the original's metadata have been copied over it.
_CLONING = "CLONING:inprogress"
_UNKNOWN = "IMPORTED:unknown"
# What udocker 1.3 does not unpack.
_SKIPPED = ("dev/", "etc/udev/devices/")


def check_names(inspection: Inspection) -> Iterator[Trouble]:
    """Names whose container is neither there nor on its way."""
    containers = inspection.store.containers
    for path in _entries(inspection):
        if link_target(path) and containers.is_abandoned(path):
            yield Trouble(
                f"name {path.name}: its container {link_target(path)} is not here",
                "removed",
                f"udocker rmname {path.name}",
                partial(containers.drop_abandoned, path),
            )


def check_containers(inspection: Inspection) -> Iterator[Trouble]:
    """Containers that cannot be used, or cannot be removed."""
    for path in _entries(inspection):
        if path.is_dir() and not path.is_symlink():
            yield from _check_tree(inspection, path)
            yield from _check_owners(path)


def _entries(inspection: Inspection) -> list[Path]:
    directory = inspection.store.paths.containers
    return sorted(directory.iterdir()) if directory.is_dir() else []


def _check_tree(inspection: Inspection, directory: Path) -> Iterator[Trouble]:
    label, remedy = f"container {directory.name}", f"udocker rm {directory.name}"
    root, image = directory / ROOT, _image(directory)
    is_new = not inspection.is_abandoned(directory, root, directory / IMAGE, directory / CONFIG)
    has_config, is_clone = _has_config(directory), image == _CLONING
    useless = not (has_config and image) and (_is_empty(root) or is_clone)
    if not root.is_dir() or useless or (is_clone and _is_empty(root)):
        yield from _unusable(inspection, directory, f"{label}: half made or half removed", is_new)
        return
    if is_clone:
        # It has all that it takes to be run, and may be whole: somebody has to look.
        cause = "a clone by udocker 1.3, perhaps cut short"
        yield Trouble(f"{label}: {cause}", remedy=f"{remedy}, unless it is whole")
        return
    if not has_config:
        what = f"{label}: {CONFIG}: missing or damaged"
        yield Trouble(
            what,
            f"written again, from {image}",
            f"udocker pull {image or 'its image'} and repair again, or {remedy}",
            lambda: _write_config(inspection, directory, image),
        )
    if not image:
        yield Trouble(
            f"{label}: {IMAGE}: missing",
            f"written, as {_UNKNOWN}",
            remedy,
            lambda: _write(inspection, directory / IMAGE, _UNKNOWN.encode()),
        )
    elif not (directory / "udocker.json").exists() and _lacks_its_end(inspection, root, image):
        cause = "the last file of its image is not in it: perhaps a create that was cut short"
        yield Trouble(f"{label}: {cause}", remedy=f"{remedy}, unless that file was removed on purpose")


def _unusable(inspection: Inspection, directory: Path, what: str, is_new: bool) -> Iterator[Trouble]:
    if is_protected(directory):
        yield Trouble(what, remedy=f"udocker unprotect {directory.name} && udocker rm {directory.name}")
    elif is_new:
        yield Trouble(f"{what}, and it is new", remedy=UNSURE)
    else:
        yield Trouble(what, "removed", f"udocker rm {directory.name}", lambda: _remove(inspection, directory))


def _remove(inspection: Inspection, directory: Path) -> bool:
    try:
        inspection.store.containers.remove(directory)
    except NotFoundError:
        return False  # somebody else was faster
    return True


def _check_owners(directory: Path) -> Iterator[Trouble]:
    """Directories of other users keep a container from being removed by its owner."""
    uid = os.geteuid()
    if uid == 0:
        return
    owners = [_owner(path) for path, _, _ in os.walk(directory)]
    foreign = [owner for owner in owners if owner not in (None, uid)]
    if foreign:
        what = f"container {directory.name}: {len(foreign)} of its directories belong to others"
        yield Trouble(what, remedy=f"ask user {foreign[0]} or root for chown -R {uid} {directory}")


def _owner(path: str) -> Optional[int]:
    try:
        return os.lstat(path).st_uid
    except FileNotFoundError:
        return None  # removed meanwhile


def _image(directory: Path) -> str:
    try:
        return os.fsdecode((directory / IMAGE).read_bytes()).strip()
    except OSError:
        return ""


def _is_empty(root: Path) -> bool:
    try:
        return not os.listdir(root)
    except OSError:
        return False  # there may be something in it


def _has_config(directory: Path) -> bool:
    try:
        ImageConfig.parse((directory / CONFIG).read_bytes())
    except (OSError, StoreCorrupt):
        return False
    return True


def _write_config(inspection: Inspection, directory: Path, image: str) -> bool:
    """Take the configuration from the image; raises StoreError where it is not here, whole."""
    images = inspection.store.images
    if not directory.is_dir():
        return False  # removed meanwhile
    try:
        found = images.load(ImageReference.parse(image))
        document = dict(images.config(found).document)
    except UdockerError as error:
        raise StoreCorrupt(f"its image {image or 'is unknown'}: {error.message}") from None
    return _write(inspection, directory / CONFIG, json.dumps(document).encode())


def _write(inspection: Inspection, path: Path, content: bytes) -> bool:
    if not path.parent.is_dir():
        return False  # removed meanwhile
    write_atomically(path, content, inspection.store.paths.file_mode)
    return True


def _lacks_its_end(inspection: Inspection, root: Path, image: str) -> bool:
    """Whether the last file of an image is missing in a tree of udocker 1.3, which unpacks in order.

    Only told where the image is here; a tree that was cut short looks like any other otherwise.
    """
    images = inspection.store.images
    try:
        found = images.load(ImageReference.parse(image))
        files = images.layer_files(found)
        last = _last_member(files[-1]) if files else ""
    except (UdockerError, OSError):
        return False  # told with the image
    return bool(last) and not os.path.lexists(root / last) and root.is_dir()


def _last_member(layer: Path) -> str:
    """The name of the last member of a layer that udocker 1.3 unpacks; empty where there is none."""
    last, limits = "", Limits()
    with open_layer(layer, limits) as stream:
        for member in TarReader(stream, Budget(limits, "layer")):
            name = posixpath.normpath(os.fsdecode(member.name).lstrip("/"))
            whiteout = posixpath.basename(name).startswith(".wh.")
            if not whiteout and ".." not in name.split("/") and not name.startswith(_SKIPPED):
                last = name
    return "" if last == "." else last
