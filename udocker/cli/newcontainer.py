"""A new container for ``udocker run``, of an image that is pulled as its ``--pull`` says."""

from __future__ import annotations

import argparse
import uuid
from typing import Optional

from udocker.cli.output import progress
from udocker.cli.registryoptions import with_registry
from udocker.config import Config
from udocker.errors import NotFoundError, RegistryError, UsageError
from udocker.model.container import Container
from udocker.model.manifest import Platform
from udocker.model.reference import ImageReference, lower_case_hint
from udocker.run.images import add_others, create, ensure_image, pull
from udocker.run.keeper import intended
from udocker.store.store import Store


def new_container(config: Config, options: argparse.Namespace) -> Container:
    """Make it; raises NotFoundError where there is no such image, RegistryError, StoreError."""
    try:
        reference = ImageReference.parse(options.object)
    except UsageError:
        message = f"run: {options.object!r}: no such container, and not an image reference"
        hint = lower_case_hint(options.object) or "see udocker ps and udocker images"
        raise NotFoundError(message, hint) from None
    platform = Platform.parse(options.platform) if options.platform else None
    config = with_registry(config, options)
    if options.policy == "never":
        _need_local(config, reference, platform)
    else:
        try:
            _fetch(config, options, reference, platform)
        except RegistryError as error:  # perhaps a container was meant
            known = f"no container is called {options.object} either, see udocker ps"
            error.hint = f"{error.hint}; {known}" if error.hint else known
            raise
    if not options.rm:
        return create(config, reference, options.name)
    container_id = str(uuid.uuid4())
    with intended(Store.at(config), container_id):
        return create(config, reference, options.name, container_id)


def _fetch(
    config: Config, options: argparse.Namespace, reference: ImageReference, platform: Optional[Platform]
) -> None:
    with progress(options.quiet) as bars:
        if options.policy == "always":
            pull(config, reference, platform, bars)
        else:
            ensure_image(config, reference, bars, platform)


def _need_local(config: Config, reference: ImageReference, platform: Optional[Platform]) -> None:
    store = Store.at(config)
    images = store.images
    try:
        found = images.config(images.load(reference)).platform
    except NotFoundError as error:
        add_others(error, store, reference)
        raise
    if platform is not None and not platform.accepts(found):
        message = f"run: {reference}: the image that is here is for {found}, not {platform}"
        raise NotFoundError(message, "--pull=missing fetches the other one")
