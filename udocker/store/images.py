"""Images by name and tag, in the directory format of udocker 1.3.

``repos/<name>/<tag>/`` is an image once its file ``TAG`` is there, which is made last and removed first:
neither this program nor udocker ever takes a directory without it for an image.  ``manifest`` is replaced
by a rename, so that an image that is pulled again changes from the old to the new in one step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Optional, Union

from udocker.errors import NotFoundError, StoreCorrupt, StoreError, UsageError, from_os_error
from udocker.model.digest import Digest
from udocker.model.manifest import ImageConfig, ImageIndex, Manifest, parse_manifest
from udocker.model.reference import ImageReference
from udocker.store.layers import LayerStore
from udocker.store.paths import StorePaths
from udocker.store.protection import is_protected
from udocker.system.files import discard_leftovers, write_atomically
from udocker.values import dataclass, field

_MANIFEST, _INDEX, _TAG, _VERSION = "manifest", "index", "TAG", "v2"
_OWN_FILES = (_MANIFEST, _INDEX, _VERSION)


@dataclass(frozen=True)
class Image:
    """An image for one platform.  ``digest`` is what its reference names at the registry: the index's
    where there is one, else the manifest's."""

    name: str
    tag: str
    directory: Path
    manifest: Manifest = field(repr=False)
    digest: Digest

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"


class ImageStore:
    """The directory ``repos``."""

    def __init__(self, paths: StorePaths, layers: LayerStore) -> None:
        self._paths = paths
        self._layers = layers

    def publish(self, reference: ImageReference, manifest: Manifest, index: Optional[ImageIndex]) -> Image:
        """Make an image whose blobs are all in the layer store visible under its reference.

        Raises StoreCorrupt where a blob is missing, StoreError.
        """
        directory = self.directory(reference)
        blobs = (manifest.config, *manifest.layers)
        digests = [descriptor.digest for descriptor in blobs]
        try:
            self._paths.make(directory)
            for digest in dict.fromkeys(digests):
                self._link(directory, digest)
            if index is not None:
                self._write(directory / _INDEX, index.raw)
            self._write(directory / _MANIFEST, manifest.raw)
            if index is None:
                (directory / _INDEX).unlink(missing_ok=True)
            self._write(directory / _VERSION, b"")
            self._write(directory / _TAG, os.fsencode(f"{directory.parent}:{directory.name}"))
            self._drop_links(directory, keep={str(digest) for digest in digests})
            discard_leftovers(directory)
        except OSError as error:
            raise from_os_error("store", error, str(directory)) from error
        missing = [descriptor.digest for descriptor in blobs if not self._layers.has(descriptor)]
        if missing:
            raise StoreCorrupt(f"store: {reference}: {missing[0]} was removed meanwhile", "pull it again")
        return self.load(reference)

    def tag(self, source: ImageReference, target: ImageReference) -> Image:
        """Give a whole image another name, beside the one that it has; its blobs are not copied.

        Raises NotFoundError, StoreCorrupt, UsageError, and StoreError where ``target`` is there already.
        """
        if target.digest is not None:
            raise UsageError(f"tag: {target}: a digest is not a name to give", "write NAME[:TAG]")
        image = self.load(source)
        self.layer_files(image)
        self.config(image)
        if self.has(target):
            raise StoreError(f"tag: {target}: already there", f"udocker rmi {target}")
        index = None
        if image.digest != image.manifest.digest:
            document = self._parse(image.directory / _INDEX)
            index = document if isinstance(document, ImageIndex) else None
        return self.publish(target, image.manifest, index)

    def load(self, reference: ImageReference) -> Image:
        """The image of a reference; raises NotFoundError, StoreCorrupt.

        An image that was pulled by a tag is found by its digest as well.
        """
        directory = self.directory(reference)
        if not (directory / _TAG).is_file():
            return self._of_same_digest(reference)
        image = self._read(directory)
        if reference.digest is not None and not _matches(image, reference.digest):
            raise StoreCorrupt(f"image: {reference}: the manifest here has digest {image.digest}")
        return image

    def has(self, reference: ImageReference) -> bool:
        """Whether the image is there and can be read."""
        try:
            self.load(reference)
        except (NotFoundError, StoreCorrupt):
            return False
        return True

    def _of_same_digest(self, reference: ImageReference) -> Image:
        if reference.digest is not None:
            for path in sorted((self._paths.repos / reference.name).glob(f"*/{_TAG}")):
                try:
                    image = self._read(path.parent)
                except StoreCorrupt:
                    continue  # that one is reported when it is asked for by its tag
                if image.digest == reference.digest:
                    return image
        raise NotFoundError(f"image: {reference}: not here", f"udocker pull {reference}")

    def entries(self) -> list[tuple[str, str, Path]]:
        """Every image as (name, tag, directory), sorted; raises StoreError for what cannot be read."""
        found = []
        for directory, _, files in os.walk(self._paths.repos, onerror=_refuse):
            if _TAG in files:
                path = Path(directory)
                name = str(path.parent.relative_to(self._paths.repos))
                found.append((name, path.name, path))
        return sorted(found)

    def config(self, image: Image) -> ImageConfig:
        """The image's configuration; raises StoreCorrupt."""
        return ImageConfig.parse(self._layers.read(image.manifest.config.digest))

    def layer_files(self, image: Image) -> list[Path]:
        """The files of the image's layers, lowest first; raises StoreCorrupt where one is not whole."""
        for layer in image.manifest.layers:
            if not self._layers.has(layer):
                cause = f"layer {layer.digest} is missing or truncated"
                raise StoreCorrupt(f"image: {image}: {cause}", "pull the image again")
        return [self._layers.path(layer.digest) for layer in image.manifest.layers]

    def platform(self, directory: Path) -> str:
        """An image's platform as text, ``unknown`` where its configuration cannot be read."""
        try:
            return str(self.config(self._read(directory)).platform)
        except StoreCorrupt:
            return "unknown"

    def is_protected(self, directory: Path) -> bool:
        """Whether ``udocker protect`` marked the image."""
        return is_protected(directory)

    def remove(self, reference: ImageReference) -> None:
        """Remove an image, and the blobs that no other image has; raises NotFoundError, StoreError."""
        directory = self.directory(reference)
        try:
            (directory / _TAG).unlink()
        except FileNotFoundError:
            raise NotFoundError(f"image: {reference}: not here") from None
        except OSError as error:
            raise from_os_error("rmi", error, str(directory)) from error
        try:
            blobs = set(self._drop_links(directory, keep=set()))
            for name in _OWN_FILES:
                (directory / name).unlink(missing_ok=True)
            discard_leftovers(directory)
            self._remove_unused(blobs)
            self._remove_empty(directory)
        except OSError as error:
            raise from_os_error("rmi", error, str(directory)) from error

    def directory(self, reference: ImageReference) -> Path:
        """Where the image lies, or would."""
        return self._paths.repos / reference.name / reference.selector

    def _write(self, path: Path, data: bytes) -> None:
        write_atomically(path, data, self._paths.file_mode)

    def _link(self, directory: Path, digest: Digest) -> None:
        target = os.path.relpath(self._layers.path(digest), directory)
        try:
            os.symlink(target, directory / str(digest))
        except FileExistsError:
            return

    def _drop_links(self, directory: Path, keep: set[str]) -> Iterator[str]:
        """Remove the links that are not to be kept; returns their names."""
        dropped = [entry.name for entry in os.scandir(directory) if entry.is_symlink()]
        dropped = [name for name in dropped if name not in keep]
        for name in dropped:
            (directory / name).unlink(missing_ok=True)
        return iter(dropped)

    def _remove_unused(self, blobs: set[str]) -> None:
        for directory, names, files in os.walk(self._paths.repos):
            blobs -= {name for name in (*names, *files) if os.path.islink(os.path.join(directory, name))}
        for name in blobs:
            (self._paths.layers / name).unlink(missing_ok=True)

    def _remove_empty(self, directory: Path) -> None:
        while directory != self._paths.repos:
            try:
                directory.rmdir()
            except OSError:
                return  # not empty: another tag or repository lies in it
            directory = directory.parent

    def _read(self, directory: Path) -> Image:
        manifest = self._parse(directory / _MANIFEST)
        if not isinstance(manifest, Manifest):
            raise StoreCorrupt(f"image: {directory}: its manifest is an index", "pull the image again")
        digest = manifest.digest
        if (directory / _INDEX).is_file():
            index = self._parse(directory / _INDEX)
            entries = index.manifests if isinstance(index, ImageIndex) else ()
            # An index left by a pull that was killed before it changed the manifest does not count.
            if any(entry.digest == digest for entry in entries):
                digest = index.digest
        name = str(directory.parent.relative_to(self._paths.repos))
        return Image(name, directory.name, directory, manifest, digest)

    @staticmethod
    def _parse(path: Path) -> Union[Manifest, ImageIndex]:
        try:
            return parse_manifest(path.read_bytes())
        except OSError as error:
            raise StoreCorrupt(f"image: {path}: {error.strerror}", "pull the image again") from error
        except StoreCorrupt as error:
            raise StoreCorrupt(f"image: {path}: {error.message}", "pull the image again") from None


def _matches(image: Image, digest: Digest) -> bool:
    """Whether the image's own document has this digest, of whatever algorithm."""
    if image.digest.algorithm == digest.algorithm:
        return image.digest == digest
    index = image.directory / _INDEX
    raw = index.read_bytes() if image.digest != image.manifest.digest else image.manifest.raw
    return digest.matches(raw)


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a store that is not made yet has no images
        raise from_os_error("images", error, str(error.filename)) from error
