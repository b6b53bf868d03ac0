"""Images by name and tag, in the directory format of udocker 1.3.

``repos/<name>/<tag>/`` is an image once its file ``TAG`` is there, which is made last and removed first:
neither this program nor udocker ever takes a directory without it for an image.  ``manifest`` is replaced
by a rename, so that an image that is pulled again changes from the old to the new in one step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Union

from udocker.errors import NotFoundError, StoreCorrupt, StoreError, UsageError, from_os_error, unreadable
from udocker.model.digest import Digest
from udocker.model.manifest import ImageConfig, ImageIndex, Manifest, parse_manifest
from udocker.model.reference import ImageReference
from udocker.store.claims import dropping
from udocker.store.layers import LayerStore
from udocker.store.legacy import ANCESTRY, VERSION, is_legacy, legacy_files, read_legacy
from udocker.store.links import ImageLinks, refuse_unreadable
from udocker.store.paths import StorePaths
from udocker.store.protection import is_protected
from udocker.store.timing import DEFAULT_TIMING, LockTiming
from udocker.system.files import discard_leftovers, write_atomically
from udocker.values import dataclass, field

if TYPE_CHECKING:
    from udocker.store.lock import SharedLock

_MANIFEST, _INDEX, TAG, _VERSION = "manifest", "index", "TAG", "v2"
# How often, and every how many seconds, a blob is looked for that somebody else may be about to put back.
_LOOKS, _LOOK_EVERY = 10, 0.05


@dataclass(frozen=True)
class Image:
    """An image for one platform.  ``digest`` is what its reference names at the registry: the index's
    where there is one, else the manifest's."""

    name: str
    tag: str
    directory: Path
    manifest: Manifest = field(repr=False)
    digest: Digest
    # Where the blobs of an image in udocker 1.3's older format lie, which are not named by their digests.
    places: Mapping[Digest, Path] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.name}:{self.tag}"


class ImageStore:
    """The directory ``repos``.

    What is missing is looked for in ``lower`` stores, in their order, which are only read.
    """

    def __init__(
        self,
        paths: StorePaths,
        layers: LayerStore,
        timing: LockTiming = DEFAULT_TIMING,
        lower: Sequence[ImageStore] = (),
    ) -> None:
        self._paths = paths
        self._layers = layers
        self.links = ImageLinks(paths, layers)
        self._timing = timing
        self._lower = tuple(lower)

    def publish(self, reference: ImageReference, manifest: Manifest, index: Optional[ImageIndex]) -> Image:
        """Make an image whose blobs are all in the layer store visible under its reference.

        Raises StoreCorrupt where a blob is missing, StoreError.
        """
        directory = self._place(reference)
        with self.lock(directory).passing():
            if not self._is_current(directory, manifest, index):
                self._publish(directory, manifest, index)
        missing = self._missing(manifest)
        if missing:
            raise StoreCorrupt(f"store: {reference}: {missing[0]} was removed meanwhile", "pull it again")
        return self.load(reference)

    def current(
        self, reference: ImageReference, manifest: Manifest, index: Optional[ImageIndex]
    ) -> Optional[Image]:
        """The image, if it is here as a registry has it, whole; takes no lock and writes nothing."""
        for store in (self, *self._lower):
            directory = store._place(reference)
            if store._is_current(directory, manifest, index):
                return store._read(directory)
            if (directory / TAG).is_file():
                break  # another one, which hides those of lower stores
        return None

    def lock(self, directory: Path) -> SharedLock:
        """The lock of those who change an image: without it one could remove what another publishes."""
        import hashlib  # not for those who change nothing

        from udocker.store.lock import SharedLock

        name = hashlib.sha256(os.fsencode(directory.relative_to(self._paths.repos))).hexdigest()[:32]
        return SharedLock(self._paths, f"image-{name}", self._timing)

    def _publish(self, directory: Path, manifest: Manifest, index: Optional[ImageIndex]) -> None:
        digests = dict.fromkeys(descriptor.digest for descriptor in (manifest.config, *manifest.layers))
        try:
            self._paths.make(directory)
            for digest in digests:
                self.links.make(directory, digest)
            if index is not None:
                self._write(directory / _INDEX, index.raw)
            self._write(directory / _MANIFEST, manifest.raw)
            if index is None:
                (directory / _INDEX).unlink(missing_ok=True)
            for name in (VERSION, ANCESTRY):  # the image was one of udocker 1.3's older format
                (directory / name).unlink(missing_ok=True)
            self._write(directory / _VERSION, b"")
            self._write(directory / TAG, os.fsencode(f"{directory.parent}:{directory.name}"))
            discard_leftovers(directory)
            self.discard(directory, keep={str(digest) for digest in digests})
        except OSError as error:
            raise from_os_error("store", error, str(directory)) from error

    def _is_current(self, directory: Path, manifest: Manifest, index: Optional[ImageIndex]) -> bool:
        digests = [descriptor.digest for descriptor in (manifest.config, *manifest.layers)]
        found = _content(directory / _MANIFEST), _content(directory / _INDEX)
        return (
            found == (manifest.raw, index.raw if index is not None else None)
            and (directory / TAG).is_file()
            and all(self.links.leads(directory, digest) for digest in digests)
            and not self._absent(manifest)
        )

    def _missing(self, manifest: Manifest) -> list[Digest]:
        """The blobs that are not here; who removes some looks again, and may put them back."""
        for _ in range(_LOOKS):
            missing = self._absent(manifest)
            if not missing:
                break
            time.sleep(_LOOK_EVERY)
        return missing

    def _absent(self, manifest: Manifest) -> list[Digest]:
        blobs = (manifest.config, *manifest.layers)
        return [descriptor.digest for descriptor in blobs if not self._layers.has(descriptor)]

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
            self.refuse_lower(target, "tag")
            raise StoreError(f"tag: {target}: already there", f"udocker rmi {target}")
        index = None
        if image.digest != image.manifest.digest:
            document = self._parse(image.directory / _INDEX)
            index = document if isinstance(document, ImageIndex) else None
        blobs = (image.manifest.config, *image.manifest.layers)
        with self._layers.claimed(descriptor.digest for descriptor in blobs):
            for descriptor in blobs if image.places else ():
                self._layers.add(
                    descriptor, lambda blob, path: _link_or_copy(image.places[blob.digest], path)
                )
            return self.publish(target, image.manifest, index)

    def load(self, reference: ImageReference) -> Image:
        """The image of a reference; raises NotFoundError, StoreCorrupt.

        An image that was pulled by a tag is found by its digest as well.
        """
        directory = self.directory(reference)
        if not (directory / TAG).is_file():
            return self._of_same_digest(reference)
        image = self._read(directory)
        if reference.digest is not None and not _matches(image, reference.digest):
            raise StoreCorrupt(f"image: {reference}: the manifest here has digest {image.digest}")
        return image

    def has(self, reference: ImageReference) -> bool:
        """Whether the image is there and can be read."""
        if is_legacy(self.directory(reference)):
            return (self.directory(reference) / TAG).is_file()
        try:
            self.load(reference)
        except (NotFoundError, StoreCorrupt):
            return False
        return True

    def _of_same_digest(self, reference: ImageReference) -> Image:
        if reference.digest is not None:
            stores = (self, *self._lower)
            repositories = [store._paths.repos / reference.name for store in stores]
            for path in (path for place in repositories for path in sorted(place.glob(f"*/{TAG}"))):
                if is_legacy(path.parent):
                    continue  # no registry has ever given it a digest
                try:
                    image = self._read(path.parent)
                except StoreCorrupt:
                    continue  # that one is reported when it is asked for by its tag
                if image.digest == reference.digest:
                    return image
        raise NotFoundError(f"image: {reference}: not here", f"udocker pull {reference}")

    def entries(self) -> list[tuple[str, str, Path]]:
        """Every image as (name, tag, directory), sorted; raises StoreError for what cannot be read."""
        found: dict[tuple[str, str], Path] = {}
        for store in (self, *self._lower):
            for directory, _, files in os.walk(store._paths.repos, onerror=refuse_unreadable):
                if TAG in files:
                    path = Path(directory)
                    name = str(path.parent.relative_to(store._paths.repos))
                    found.setdefault((name, path.name), path)
        return sorted((name, tag, path) for (name, tag), path in found.items())

    def others(self, reference: ImageReference) -> list[str]:
        """The images that are here by the same name and another tag or digest, as one would write them."""
        found: set[str] = set()
        for store in (self, *self._lower):
            found.update(path.parent.name for path in (store._paths.repos / reference.name).glob(f"*/{TAG}"))
        names = sorted(found - {reference.selector})
        return [f"{reference.name}{'@' if ':' in name else ':'}{name}" for name in names]

    def config(self, image: Image) -> ImageConfig:
        """The image's configuration; raises StoreCorrupt."""
        return ImageConfig.parse(self.config_raw(image))

    def config_raw(self, image: Image) -> bytes:
        """The bytes of the image's configuration; raises StoreCorrupt."""
        digest = image.manifest.config.digest
        if digest not in image.places:
            return self._layers.read(digest)
        try:
            return image.places[digest].read_bytes()
        except OSError as error:
            raise StoreCorrupt(f"image: {image}: {error.strerror}", "load it again") from error

    def layer_files(self, image: Image) -> list[Path]:
        """The files of the image's layers, lowest first; raises StoreCorrupt where one is not whole."""
        for layer in image.manifest.layers:
            if layer.digest not in image.places and not self._layers.has(layer):
                cause = f"layer {layer.digest} is missing or truncated"
                raise StoreCorrupt(f"image: {image}: {cause}", "pull the image again")
        digests = [layer.digest for layer in image.manifest.layers]
        return [image.places.get(digest) or self._layers.path(digest) for digest in digests]

    def platform(self, directory: Path) -> str:
        """An image's platform as text, ``unknown`` where its configuration cannot be read."""
        try:
            if is_legacy(directory):
                return str(ImageConfig.parse(legacy_files(directory)[0].read_bytes()).platform)
            return str(self.config(self._read(directory)).platform)
        except (StoreCorrupt, OSError):
            return "unknown"

    def is_protected(self, directory: Path) -> bool:
        """Whether ``udocker protect`` marked the image."""
        return is_protected(directory)

    def remove(self, reference: ImageReference) -> None:
        """Remove an image, and the blobs that no other image has; raises NotFoundError, StoreError.

        What an earlier removal, or a pull that was killed, has left of it is removed as well.
        """
        self.refuse_lower(reference, "rmi")
        directory = self._place(reference)
        if not has_remains(directory):
            raise NotFoundError(f"image: {reference}: not here", "see udocker images")
        with self.lock(directory).passing():
            if not has_remains(directory):
                raise NotFoundError(f"image: {reference}: was removed meanwhile", "see udocker images")
            self.clear(directory)

    def clear(self, directory: Path) -> None:
        """Remove whatever is in an image's directory, under its lock; raises StoreError."""
        try:
            (directory / TAG).unlink(missing_ok=True)  # from here on it is no image any more
            self.discard(directory, keep=set())
            for entry in list(os.scandir(directory)):
                if not entry.is_dir(follow_symlinks=False):
                    Path(entry.path).unlink(missing_ok=True)
            self._remove_empty(directory)
        except OSError as error:
            raise from_os_error("rmi", error, str(directory)) from error

    def discard(self, directory: Path, keep: set[str]) -> None:
        """Remove an image's links that are not to be kept, and blobs that then have none; raises OSError."""
        names = self.links.targets(directory, keep)
        if names:
            with dropping(self._paths, names.values()):
                for name in names:
                    (directory / name).unlink(missing_ok=True)
                self._layers.remove(names.values(), self.links.linked)

    def directory(self, reference: ImageReference) -> Path:
        """Where the image lies, or would."""
        places = [store._place(reference) for store in (self, *self._lower)]
        return next((place for place in places if (place / TAG).is_file()), places[0])

    def refuse_lower(self, reference: ImageReference, act: str) -> None:
        """Raise StoreError for an image that only a lower store has, which is not ours to change."""
        lower = self.directory(reference)
        own = self._place(reference)
        if lower != own and not has_remains(own):
            raise StoreError(
                f"{act}: {reference}: is the site's, in {lower}", "udocker tag makes an image of your own"
            )

    def _place(self, reference: ImageReference) -> Path:
        return self._paths.repos / reference.name / reference.selector

    def _write(self, path: Path, data: bytes) -> None:
        write_atomically(path, data, self._paths.file_mode)

    def _remove_empty(self, directory: Path) -> None:
        while directory != self._paths.repos:
            try:
                directory.rmdir()
            except OSError:
                return  # not empty: another tag or repository lies in it
            directory = directory.parent

    def _read(self, directory: Path) -> Image:
        repos = next(
            store._paths.repos for store in (self, *self._lower) if store._paths.repos in directory.parents
        )
        name = str(directory.parent.relative_to(repos))
        if is_legacy(directory):
            legacy = read_legacy(directory)
            digest = legacy.manifest.digest
            return Image(name, directory.name, directory, legacy.manifest, digest, legacy.places)
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
        return Image(name, directory.name, directory, manifest, digest)

    @staticmethod
    def _parse(path: Path) -> Union[Manifest, ImageIndex]:
        try:
            return parse_manifest(path.read_bytes())
        except OSError as error:
            raise unreadable(f"image: {path}", error, "pull the image again") from error
        except StoreCorrupt as error:
            raise StoreCorrupt(f"image: {path}: {error.message}", "pull the image again") from None


def has_remains(directory: Path) -> bool:
    """Whether a directory holds an image, or what is left of one."""
    try:
        return any(not entry.is_dir(follow_symlinks=False) for entry in os.scandir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _content(path: Path) -> Optional[bytes]:
    try:
        return path.read_bytes()
    except OSError:
        return None  # whatever keeps it from being read, it is not what is asked for


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        import shutil

        shutil.copyfile(source, target)


def _matches(image: Image, digest: Digest) -> bool:
    """Whether the image's own document has this digest, of whatever algorithm."""
    if image.digest.algorithm == digest.algorithm:
        return image.digest == digest
    index = image.directory / _INDEX
    raw = index.read_bytes() if image.digest != image.manifest.digest else image.manifest.raw
    return digest.matches(raw)
