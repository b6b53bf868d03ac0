"""Images that are half made, half removed, or lack something."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Union

from udocker.errors import StoreCorrupt
from udocker.model.manifest import Descriptor, ImageIndex, Manifest, parse_manifest
from udocker.store.images import TAG, has_remains
from udocker.store.legacy import is_legacy, legacy_files
from udocker.store.repair.finding import Inspection, Trouble
from udocker.system.files import maker_of


def check_images(inspection: Inspection) -> Iterator[Trouble]:
    """Everything that is wrong below repos/, but for the content of blobs."""
    repos = inspection.store.paths.repos
    for directory, names, files in os.walk(repos, topdown=False):
        path = Path(directory)
        if path == repos:
            continue
        if TAG in files:
            yield from _surely(inspection, path)
        elif has_remains(path):
            yield Trouble(
                f"{_label(inspection, path)}: half made or half removed",
                "removed",
                f"rm -r {path}",
                partial(_clear, inspection, path),
            )
        elif not names:
            yield Trouble(
                f"repos/{path.relative_to(repos)}: empty",
                "removed",
                f"rmdir {path}",
                partial(_clear, inspection, path),
            )


def _surely(inspection: Inspection, directory: Path) -> list[Trouble]:
    """What is wrong with an image, and still is when nobody is changing it."""
    troubles = list(_check_image(inspection, directory))
    if not troubles or inspection.dry_run:
        return troubles
    with inspection.store.images.lock(directory).passing():
        return list(_check_image(inspection, directory)) if (directory / TAG).exists() else []


def image_directories(inspection: Inspection) -> list[Path]:
    """The directories of all images of this store itself."""
    walk = os.walk(inspection.store.paths.repos)
    return sorted(Path(directory) for directory, _, files in walk if TAG in files)


def descriptors(inspection: Inspection, directory: Path) -> tuple[Descriptor, ...]:
    """The blobs that an image's manifest names, none in udocker 1.3's older format; raises StoreCorrupt."""
    if is_legacy(directory):
        return ()
    manifest = _parse(directory / "manifest")
    if not isinstance(manifest, Manifest):
        raise StoreCorrupt("its manifest is an index")
    return (manifest.config, *manifest.layers)


def _check_image(inspection: Inspection, directory: Path) -> Iterator[Trouble]:
    label = _label(inspection, directory)
    remedy = f"udocker pull {label}, or udocker rmi {label}"
    if is_legacy(directory):
        yield from _check_legacy(label, directory)
        return
    try:
        blobs = descriptors(inspection, directory)
    except StoreCorrupt as error:
        yield Trouble(f"{label}: {error.message}", remedy=remedy)
        return
    layers, links = inspection.store.layers, inspection.store.images.links
    absent = {str(descriptor.digest) for descriptor in blobs if not layers.has(descriptor)}
    if absent and absent <= inspection.claimed():
        return  # somebody is fetching them
    if absent:
        yield Trouble(f"{label}: {len(absent)} of its blobs missing or truncated", remedy=remedy)
    elif not all(links.leads(directory, descriptor.digest) for descriptor in blobs):
        yield Trouble(
            f"{label}: not linked to its blobs", "linked", remedy, lambda: _relink(inspection, directory)
        )
    if _foreign_links(inspection, directory):
        yield Trouble(
            f"{label}: links to what is not its own",
            "removed",
            remedy,
            lambda: _unlink(inspection, directory),
        )
    for path in _unfinished(inspection, directory):
        yield Trouble(f"{label}: {path.name}: unfinished", "removed", f"rm {path}", partial(_remove, path))
    if _has_foreign_index(directory):
        yield Trouble(
            f"{label}: an index that it is not of",
            "removed",
            remedy,
            lambda: _drop_index(inspection, directory),
        )


def _unfinished(inspection: Inspection, directory: Path) -> list[Path]:
    """Files that a process was writing when it died."""
    files = [path for path in sorted(directory.iterdir()) if maker_of(path.name)]
    return [path for path in files if inspection.is_dead(maker_of(path.name))]


def _remove(path: Path) -> bool:
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def _check_legacy(label: str, directory: Path) -> Iterator[Trouble]:
    remedy = f"udocker rmi {label}, then load or import it again"
    try:
        missing = [path.name for path in legacy_files(directory) if not path.exists()]
    except StoreCorrupt as error:
        yield Trouble(f"{label}: {error.message}", remedy=remedy)
        return
    if missing:
        yield Trouble(f"{label}: {missing[0]}: missing", remedy=remedy)


def _clear(inspection: Inspection, directory: Path) -> bool:
    images = inspection.store.images
    with images.lock(directory).passing():
        if not directory.is_dir() or (directory / TAG).exists():
            return False  # finished by its maker
        images.clear(directory)
        return True


def _relink(inspection: Inspection, directory: Path) -> bool:
    with inspection.store.images.lock(directory).passing():
        if not (directory / TAG).exists():
            return False
        for descriptor in descriptors(inspection, directory):
            inspection.store.images.links.make(directory, descriptor.digest)
        return True


def _foreign_links(inspection: Inspection, directory: Path) -> list[str]:
    own = {str(descriptor.digest) for descriptor in descriptors(inspection, directory)}
    entries = list(os.scandir(directory))
    return [entry.name for entry in entries if entry.is_symlink() and entry.name not in own]


def _unlink(inspection: Inspection, directory: Path) -> bool:
    images = inspection.store.images
    with images.lock(directory).passing():
        if not (directory / TAG).exists() or not _foreign_links(inspection, directory):
            return False
        keep = {str(descriptor.digest) for descriptor in descriptors(inspection, directory)}
        images.discard(directory, keep)
        return True


def _has_foreign_index(directory: Path) -> bool:
    """Whether an index is there that does not name the manifest: a pull was killed between the two."""
    try:
        index, manifest = _parse(directory / "index"), _parse(directory / "manifest")
    except StoreCorrupt:
        return (directory / "index").exists()
    entries = index.manifests if isinstance(index, ImageIndex) else ()
    return isinstance(manifest, Manifest) and manifest.digest not in [entry.digest for entry in entries]


def _drop_index(inspection: Inspection, directory: Path) -> bool:
    with inspection.store.images.lock(directory).passing():
        if not (directory / TAG).exists() or not _has_foreign_index(directory):
            return False
        (directory / "index").unlink(missing_ok=True)
        return True


def _parse(path: Path) -> Union[Manifest, ImageIndex]:
    try:
        return parse_manifest(path.read_bytes())
    except OSError as error:
        raise StoreCorrupt(f"{path.name}: {error.strerror}") from error
    except StoreCorrupt as error:
        raise StoreCorrupt(f"{path.name}: {error.message}") from None


def _label(inspection: Inspection, directory: Path) -> str:
    name = directory.parent.relative_to(inspection.store.paths.repos)
    return f"{name}{'@' if ':' in directory.name else ':'}{directory.name}"
