"""Blobs that are damaged, and those that no image needs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from udocker.errors import StoreCorrupt, UsageError
from udocker.model.digest import Digest
from udocker.store.claims import claims
from udocker.store.repair.finding import UNSURE, Inspection, Trouble
from udocker.store.repair.images import descriptors, image_directories
from udocker.system.files import remove_tree, unique_name

_BLOCK = 1 << 20
_DIGEST = re.compile(r"[a-z0-9]+:[0-9a-f]+")


def check_blobs(inspection: Inspection) -> Iterator[Trouble]:
    """Blobs whose content is not that of their digest, and blobs of nobody.

    What udocker 1.3 names by something else than a digest is left alone: it cannot be checked.
    """
    sizes = _wanted_sizes(inspection)
    linked = inspection.store.images.links.linked()
    dead = [claim for claim in claims(inspection.store.paths) if inspection.is_dead(claim.maker)]
    abandoned = {digest for claim in dead for digest in claim.digests}
    wanted = inspection.claimed()
    layers = inspection.store.paths.layers
    for name in sorted(os.listdir(layers)) if layers.is_dir() else []:
        path = layers / name
        if name in linked or name in sizes:
            yield from _check_content(inspection, path, sizes.get(name))
        elif name not in wanted and (name in abandoned or _DIGEST.fullmatch(name)):
            yield from _check_use(inspection, path, name in abandoned)


def _wanted_sizes(inspection: Inspection) -> dict[str, int]:
    """The size of every blob that the manifest of an image names, linked or not."""
    found = {}
    for directory in image_directories(inspection):
        try:
            blobs = descriptors(inspection, directory)
        except StoreCorrupt:
            continue  # told with the image
        found.update({str(descriptor.digest): descriptor.size for descriptor in blobs})
    return found


def _check_use(inspection: Inspection, path: Path, abandoned: bool) -> Iterator[Trouble]:
    what = f"layers/{path.name}: no image has it"
    if not abandoned and not inspection.is_abandoned(path):
        yield Trouble(f"{what}, and it is new", remedy=UNSURE)
        return
    yield Trouble(what, "removed", f"rm {path}", lambda: _remove_unused(inspection, path.name))


def _remove_unused(inspection: Inspection, name: str) -> bool:
    links = inspection.store.images.links
    return inspection.store.layers.remove([name], links.linked, inspection.claimed) == [name]


def _check_content(inspection: Inspection, path: Path, size: Optional[int]) -> Iterator[Trouble]:
    what, done = f"layers/{path.name}: ", "removed; the next pull fetches it again"
    try:
        found = path.stat().st_size
        if size is not None and found != size:
            what += f"{found} bytes instead of {size}"
            if found < size and not inspection.is_abandoned(path):
                # udocker 1.3 fetches into the place itself, and may be doing so now.
                yield Trouble(f"{what}, and it is new", remedy=f"udocker pull its image, or {UNSURE}")
                return
        elif _is_right(path, path.name):
            return
        else:
            what += "its content has another digest"
    except FileNotFoundError:
        return  # a link to nothing is told with its image
    except OSError as error:
        what += error.strerror or str(error)
    yield Trouble(what, done, f"rm {path}", lambda: _remove_damaged(inspection, path, size))


def _is_right(path: Path, name: str) -> bool:
    """Whether a file has the content that its name says; names that say nothing of it are always right."""
    try:
        digest = Digest.parse(name)
    except UsageError:
        return True
    hasher = digest.hasher()
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            hasher.update(block)
    return hasher.hexdigest() == digest.hex


def _remove_damaged(inspection: Inspection, path: Path, size: Optional[int]) -> bool:
    aside = inspection.store.paths.scratch / unique_name("blob-")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return False
    if _is_whole(aside, path.name, size):
        os.rename(aside, path)  # a pull has replaced it meanwhile
        return False
    remove_tree(aside)
    return True


def _is_whole(path: Path, name: str, size: Optional[int]) -> bool:
    try:
        return (size is None or path.stat().st_size == size) and _is_right(path, name)
    except OSError:
        return False  # it cannot be read, as told
