"""From a reference to an image in the store, and from an image to a container."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Optional, Protocol

from udocker.config import Config
from udocker.errors import NotFoundError, RegistryError, StoreCorrupt, StoreError, UdockerError
from udocker.model.container import Container
from udocker.model.imageconfig import ImageConfig
from udocker.model.manifest import Descriptor, Platform
from udocker.model.reference import ImageReference
from udocker.run.crew import work_together
from udocker.store.images import Image
from udocker.store.limits import Limits
from udocker.store.store import Store
from udocker.store.unpack import unpack_layers

if TYPE_CHECKING:
    from udocker.registry.client import RegistryClient

_LOG = logging.getLogger(__name__)
# What import, load and tag make is in no registry, or another image there.
_ONLY_HERE = "one of this name is in the store: to use that, create a container of it and name the container"

# So many names that a hint tells.
_SHOWN = 5


class Progress(Protocol):
    """Told about a pull as it goes on, from several threads; sizes are bytes."""

    def start(self, layer: Descriptor, present: bool) -> None:
        """A layer's turn has come; where it is ``present`` in the store already, this is all that is said."""
        ...

    def waits(self, layer: Descriptor) -> None:
        """Another process is fetching the layer; told repeatedly."""
        ...

    def advance(self, layer: Descriptor, count: int) -> None:
        """``count`` more bytes have come, or fewer than nothing where a transfer starts again."""
        ...

    def done(self, layer: Descriptor) -> None:
        """The layer is in the store, verified."""
        ...


class Silent:
    """Progress that nobody watches."""

    def start(self, layer: Descriptor, present: bool) -> None:
        """Ignore."""

    def waits(self, layer: Descriptor) -> None:
        """Ignore."""

    def advance(self, layer: Descriptor, count: int) -> None:
        """Ignore."""

    def done(self, layer: Descriptor) -> None:
        """Ignore."""


def resolve(config: Config, reference: ImageReference) -> ImageReference:
    """The same image by digest, asked from its registry.

    Where the registry cannot be reached, the image of the store counts, as on a cluster without a network.
    Raises RegistryError.
    """
    if reference.digest is not None:
        return reference.pinned(reference.digest)
    # Imported where it is used: making a container of an image that is here needs no HTTP.
    from udocker.registry.client import RegistryClient

    try:
        with RegistryClient(config, reference) as client:
            return reference.pinned(client.resolve().digest)
    except RegistryError as error:
        try:
            image = Store.at(config).images.load(reference)
        except (NotFoundError, StoreCorrupt):
            raise error from None
        if error.status and not error.temporary:  # it was reached, and refuses
            error.hint = f"{error.hint}; {_ONLY_HERE}" if error.hint else _ONLY_HERE
            raise
        _LOG.warning("%s; taking the image that is here, %s", error.message, image.digest)
        return reference.pinned(image.digest)


def configuration(config: Config, reference: ImageReference) -> Optional[ImageConfig]:
    """What an image of the store says about running it; None where that has none, or none that is whole."""
    images = Store.at(config).images
    try:
        return images.config(images.load(reference))
    except (NotFoundError, StoreCorrupt):
        return None  # whoever creates a container of it pulls it again, or tells


def pull(
    config: Config,
    reference: ImageReference,
    platform: Optional[Platform] = None,
    progress: Optional[Progress] = None,
) -> Image:
    """Fetch what is missing of an image and publish it in the store.

    Raises RegistryError, StoreError: that the store cannot be written before that there is no registry.
    """
    try:
        return _pull(config, reference, platform, progress or Silent())
    except RegistryError as error:
        if not error.status or error.temporary:  # it was not reached: the rest can be told all the same
            Store.at(config).paths.require_writable()
        raise


def _pull(config: Config, reference: ImageReference, platform: Optional[Platform], report: Progress) -> Image:
    from udocker.registry.client import RegistryClient

    store = Store.at(config)
    with RegistryClient(config, reference) as client:
        remote = client.fetch_image(platform or Platform.host())
        image = store.images.current(reference, remote.manifest, remote.index)
        if image is not None:
            for layer in dict.fromkeys(remote.manifest.layers):
                report.start(layer, present=True)
            return image

        blobs = (remote.manifest.config, *remote.manifest.layers)
        with store.create().layers.claimed(blob.digest for blob in blobs):
            store.layers.add_bytes(remote.manifest.config.digest, remote.config_raw)
            _fetch_layers(config, store, client, remote.manifest.layers, report)
            store.incoming.discard_old()
            return store.images.publish(reference, remote.manifest, remote.index)


def _fetch_layers(
    config: Config,
    store: Store,
    client: RegistryClient,
    layers: tuple[Descriptor, ...],
    report: Progress,
) -> None:
    """Bring the layers that are missing, several at a time; each once, however often the image has it."""

    def fetch(layer: Descriptor, file: BinaryIO) -> None:
        client.blob(layer, file, lambda count: report.advance(layer, count))

    def waits(layer: Descriptor) -> None:
        client.check_stopped()
        report.waits(layer)

    def bring(layer: Descriptor) -> None:
        report.start(layer, present=False)
        store.incoming.bring(layer, fetch, lambda: waits(layer))
        report.done(layer)

    missing = []
    for layer in {layer.digest: layer for layer in layers}.values():
        if store.layers.has(layer):
            report.start(layer, present=True)
        else:
            missing.append(layer)
    work_together(missing, bring, config.registry_parallel, client.stop)


def create(
    config: Config,
    reference: ImageReference,
    name: str = "",
    container_id: str = "",
    durable: bool = False,
    replace: bool = False,
    filled: Optional[Callable[[Path], None]] = None,
) -> Container:
    """Unpack an image of the store into a new container; ``replace`` takes its name from another one.

    ``filled`` is given the container's directory before anybody sees it.

    Raises NotFoundError where the image was not pulled, StoreError, UnpackError.
    """
    store = Store.at(config).create()
    image = store.images.load(reference)
    layers = store.images.layer_files(image)
    document: Mapping[str, Any] = store.images.config(image).document

    def unpack(root: Path) -> None:
        try:
            unpack_layers(layers, root, Limits.of(config))
        except StoreError:
            if not store.images.has(reference) or not all(map(os.path.exists, layers)):
                hint = f"udocker pull {reference}, and again"
                raise StoreError(f"create: {reference}: the image was removed meanwhile", hint) from None
            raise

    return store.containers.create(
        str(reference) if reference.digest else f"{image.name}:{image.tag}",
        document,
        unpack,
        container_id,
        {"digest": str(image.digest), "manifest": str(image.manifest.digest)},
        durable,
        name,
        replace,
        filled,
    )


def ensure_image(
    config: Config,
    reference: ImageReference,
    progress: Optional[Progress] = None,
    platform: Optional[Platform] = None,
) -> Image:
    """The image from the store, pulled where it is missing, damaged or for another platform than is asked."""
    store = Store.at(config)
    try:
        image = store.images.load(reference)
        store.images.layer_files(image)
        found = store.images.config(image).platform
        if platform is None or platform.accepts(found):
            return image
    except NotFoundError:
        pass  # pulled below
    except StoreCorrupt as damage:
        _LOG.warning("%s; pulling it again", damage.message)
    try:
        return pull(config, reference, platform, progress)
    except RegistryError as error:
        add_others(error, store, reference)
        raise


def add_others(error: UdockerError, store: Store, reference: ImageReference) -> None:
    """Let the hint of an error name what is here under the same name with other tags."""
    names = store.images.others(reference)
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        here = f"here {'are' if len(names) > 1 else 'is'} {', '.join(names[:_SHOWN])}{more}"
        error.hint = f"{error.hint}; {here}" if error.hint else here
