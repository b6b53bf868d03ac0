"""Images and containers from archives and into them."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Optional

from udocker.config import Config
from udocker.errors import StoreCorrupt, StoreError, UsageError, from_os_error
from udocker.model.container import Container
from udocker.model.digest import Digest
from udocker.model.manifest import Descriptor, ImageConfig, Platform
from udocker.model.reference import ImageReference
from udocker.store import archive, ociarchive
from udocker.store.archive import (
    ArchivedImage,
    SavedImage,
    docker_manifest,
    saved_layers,
    write_docker_archive,
)
from udocker.store.clone import clone_archive
from udocker.store.containers import check_name
from udocker.store.limits import Limits
from udocker.store.members import Member, Members, check_tree, measure, spool
from udocker.store.protection import PROTECT
from udocker.store.store import Store
from udocker.store.treetar import write_tree
from udocker.store.unpack import unpack_layers
from udocker.system.files import discard, unique_name
from udocker.values import replace

# A stream that is opened, and closed again, by a with block.
Opened = AbstractContextManager[BinaryIO]

_UNNAMED = "IMPORTED:unknown"  # udocker's name for what a container was imported from


def save(config: Config, references: Sequence[ImageReference], output: Opened) -> None:
    """Write images in docker's format.

    Every layer is verified before ``output`` is opened.  Raises NotFoundError, StoreError, UsageError.
    """
    images = _images_to_save(Store.at(config), references)
    with output as stream:
        write_docker_archive(images, stream)


def _images_to_save(store: Store, references: Sequence[ImageReference]) -> list[SavedImage]:
    found: dict[Digest, SavedImage] = {}
    for reference in references:
        image = store.images.load(reference)
        raw = store.images.config_raw(image)
        names = ((reference.name, reference.tag),) if reference.tag and not reference.digest else ()
        known = found.get(image.manifest.config.digest)
        if known is None:
            files = store.images.layer_files(image)
            raw = _with_layers(raw, files) if image.places else raw
            layers = saved_layers(ImageConfig.parse(raw), files)
            known = SavedImage((), raw, layers)
        merged = tuple(dict.fromkeys((*known.names, *names)))
        found[image.manifest.config.digest] = replace(known, names=merged)
    return list(found.values())


def _with_layers(raw: bytes, files: Sequence[Path]) -> bytes:
    """The configuration of an image of udocker 1.3's older format, made to name its layers.

    udocker 1.3 writes one that names none, or one that names the compressed file.
    """
    document = json.loads(raw)
    wanted = [str(measure(path)[1]) for path in files]
    rootfs = document.get("rootfs")
    if isinstance(rootfs, dict) and rootfs.get("diff_ids") == wanted:
        return raw
    return json.dumps({**document, "rootfs": {"type": "layers", "diff_ids": wanted}}).encode()


def load(config: Config, source: Opened, name: str = "") -> list[ImageReference]:
    """Load the images of an archive of docker or an OCI layout.

    All are verified before the first one is published.  ``name`` renames a single image; without a tag in
    it, the archive's tags stay.  Raises StoreError, UsageError.
    """
    new_name = ImageReference.parse(name) if name else None
    store = Store.at(config).create()
    with _workspace(store, "load") as work, source as stream:
        images = _read_images(Members.read_from(stream, work, Limits.of(config)))
        named = [(image, _references(image, new_name, name)) for image in images]
        if new_name is not None and len(images) > 1:
            raise UsageError(
                f"load: {name}: the archive holds {len(images)} images", "load it without a name"
            )
        for image, names in named:
            _publish(store, image, names)
    return [reference for _, names in named for reference in names]


def _read_images(members: Members) -> list[ArchivedImage]:
    if archive.MANIFEST in members:  # docker's own archives are OCI layouts as well, without all the names
        images = archive.read_docker_archive(members)
    elif ociarchive.INDEX in members:
        images = ociarchive.read_oci_archive(members, Platform.host())
    else:
        cause = f"neither {archive.MANIFEST} nor {ociarchive.INDEX} is in it"
        raise StoreCorrupt(f"archive: not an image: {cause}", "use udocker import for a tree of files")
    if not images:
        raise StoreCorrupt("archive: it holds no image")
    return images


def _references(image: ArchivedImage, new: Optional[ImageReference], text: str) -> list[ImageReference]:
    """The names under which an image is to be known."""
    short = image.manifest.config.digest.short
    # A layout may name an image by its tag alone, or not at all.
    texts = [name if ":" in name or "/" in name else f"{short}:{name}" for name in image.names] or [short]
    references = [ImageReference.parse(name) for name in texts]
    if any(reference.digest for reference in references):
        raise StoreCorrupt(f"archive: {texts[0]!r}: a name with a digest", "load it under a name of yours")
    if new is not None:
        if new.digest is not None:
            raise UsageError(f"load: {text}: a digest cannot be given to an image", "write NAME[:TAG]")
        has_tag = ":" in text.rpartition("/")[2]
        tags = [new.tag] if has_tag else [reference.tag for reference in references]
        references = [replace(new, tag=tag) for tag in tags]
    return list(dict.fromkeys(references))


def _publish(store: Store, image: ArchivedImage, references: Sequence[ImageReference]) -> None:
    blobs = (image.manifest.config, *image.manifest.layers)
    with store.layers.claimed(blob.digest for blob in blobs):
        store.layers.add_bytes(image.manifest.config.digest, image.config_raw)
        for layer, member in zip(image.manifest.layers, image.layers):
            store.layers.add(layer, partial(_move, member))
        for reference in references:
            store.images.publish(reference, image.manifest, image.index)


def _move(member: Member, _: Descriptor, path: Path) -> None:
    os.rename(member.path, path)


def export(config: Config, name: str, output: Opened, clone: bool = False) -> None:
    """Write a container's root as a tar archive, or for a ``clone`` its metadata as well.

    Raises NotFoundError, StoreError, UsageError.
    """
    container = Store.at(config).containers.find(name)
    with output as stream:
        top = Path(container.directory if clone else container.root)
        write_tree(top, stream, (PROTECT,) if clone else ())


def import_image(
    config: Config,
    source: Opened,
    reference: ImageReference,
    platform: Optional[Platform] = None,
    move: Optional[Path] = None,
) -> None:
    """Make an image of a tar archive, whose only layer it becomes; raises StoreError, UsageError.

    ``move`` is the source's file, which is then gone afterwards.
    """
    if reference.digest is not None:
        raise UsageError(f"import: {reference}: a digest cannot be given to an image", "write NAME[:TAG]")
    store = Store.at(config).create()
    with _workspace(store, "import") as work:
        layer, diff_id = _layer(
            source, work, move if move and _can_move(move, work) else None, Limits.of(config)
        )
        raw = json.dumps(_document(platform, diff_id)).encode()
        manifest = docker_manifest(raw, [layer])
        _publish(store, ArchivedImage((), raw, (layer,), manifest), [reference])
    if move:
        move.unlink(missing_ok=True)


def import_container(
    config: Config,
    source: Opened,
    image: str = "",
    name: str = "",
    platform: Optional[Platform] = None,
    in_place: Optional[Path] = None,
) -> Container:
    """Make a container of a tar archive; raises StoreError, UnpackError, UsageError.

    ``in_place`` is the source's file, which then needs no copy.
    """
    store, limits = Store.at(config).create(), Limits.of(config)
    _check_free(store, name)
    label = str(ImageReference.parse(image)) if image else _UNNAMED
    with _workspace(store, "import") as work:
        layer, diff_id = _layer(source, work, in_place, limits)
        document = _document(platform, diff_id)
        return store.containers.create(
            label, document, lambda root: unpack_layers([layer.path], root, limits), name=name
        )


def import_clone(
    config: Config, source: Opened, name: str = "", in_place: Optional[Path] = None
) -> Container:
    """Make a container of what ``export`` wrote of one as a clone; raises StoreError, UsageError.

    ``in_place`` is the source's file, which then needs no copy.
    """
    store = Store.at(config).create()
    _check_free(store, name)
    with _workspace(store, "import") as work, source as stream:
        layer = in_place or spool(stream, "clone", work / "clone").path
        return clone_archive(store.containers, layer, Limits.of(config), name)


def _check_free(store: Store, name: str) -> None:
    if name:
        check_name(name)
        if store.containers.is_taken(name):
            raise StoreError(f"import: {name}: name already taken", "choose another")


def _layer(source: Opened, work: Path, in_place: Optional[Path], limits: Limits) -> tuple[Member, Digest]:
    """An archive as a layer, copied to ``work`` if not ``in_place``, and the digest of its plain tar."""
    with source as stream:
        layer = spool(stream, "layer", None if in_place else work / "layer")
    if in_place:
        layer = replace(layer, path=in_place)
    return layer, check_tree(layer.path, limits)


def _can_move(source: Path, work: Path) -> bool:
    """Whether a file can become the store's by a rename, and nobody else has it."""
    status = os.lstat(source) if os.path.lexists(source) else None
    return (
        status is not None
        and stat.S_ISREG(status.st_mode)
        and (status.st_dev, status.st_uid, status.st_nlink) == (work.stat().st_dev, os.geteuid(), 1)
    )


def _document(platform: Optional[Platform], diff_id: Digest) -> dict[str, Any]:
    """The configuration of an image that says nothing about running it."""
    target = platform or Platform.host()
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {
        "architecture": target.architecture,
        "os": target.os,
        **({"variant": target.variant} if target.variant else {}),
        "created": created,
        "config": {
            "Cmd": None,
            "Entrypoint": None,
            "Env": None,
            "User": "",
            "Volumes": None,
            "WorkingDir": "",
        },
        "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
        "history": [{"created": created, "comment": "imported by udocker"}],
    }


@contextmanager
def _workspace(store: Store, act: str) -> Iterator[Path]:
    """An empty directory of the store's file system, removed at the end."""
    work = store.paths.tmp / unique_name(f"{act}-")
    try:
        work.mkdir(mode=0o700)
        yield work
    except OSError as error:
        raise from_os_error(act, error, str(error.filename or store.paths.tmp)) from error
    finally:
        discard(work)
