"""What an argument that names a container or an image means."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from udocker.errors import NotFoundError, StoreError, UsageError
from udocker.model.reference import ImageReference
from udocker.store.store import Store


def object_directory(store: Store, text: str, act: str) -> Path:
    """The directory of a container, or else of an image; raises NotFoundError."""
    try:
        return Path(store.containers.directory(text))
    except NotFoundError:
        pass  # then it is an image
    reference = image_reference(store, text)
    if reference is None:
        raise nothing_found(act, text)
    return store.images.directory(reference)


def own_directory(store: Store, text: str, act: str) -> Path:
    """As ``object_directory``; raises StoreError for what is in a lower store."""
    directory = object_directory(store, text, act)
    if Path(store.paths.root) not in directory.parents:
        raise StoreError(f"{act}: {text}: is the site's, in {directory}", "it is not yours to change")
    return directory


def image_reference(store: Store, text: str) -> Optional[ImageReference]:
    """The reference of an image that is here, whole or not; None for anything else."""
    try:
        reference = ImageReference.parse(text)
    except UsageError:
        return None  # containers have names that no image can have
    return reference if store.images.has(reference) else None


def nothing_found(act: str, text: str) -> NotFoundError:
    """The error for a name that nothing here has."""
    message = f"{act}: {text}: no container or image of this name is here"
    return NotFoundError(message, "see udocker ps and udocker images")
