"""Where an image's repository is: at its registry, or at one of the registry's mirrors."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from udocker.config import Config
from udocker.model.reference import DOCKER_HUB_HOST, ImageReference
from udocker.registry.credentials import HUB_NAMES

_API = frozenset({"v1", "v2"})


@dataclass(frozen=True)
class Endpoint:
    """``host`` (with its port), what stands before the names of repositories there, and whether by http."""

    host: str
    prefix: str = ""
    plain: bool = False

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Read a URL that ``Config`` has checked; the versions of docker's API at its end are no prefix."""
        parts = urlsplit(url)
        path = parts.path.strip("/")
        prefix = f"{path}/" if path and path not in _API else ""
        return cls(parts.netloc, prefix, parts.scheme == "http")

    def base(self, reference: ImageReference) -> str:
        """The path that the addresses of the repository's documents and blobs begin with."""
        return f"/v2/{self.prefix}{reference.repository}"

    def scope(self, reference: ImageReference) -> str:
        """What a token is asked for, to read the repository."""
        return f"repository:{self.prefix}{reference.repository}:pull"


def registry_of(config: Config, reference: ImageReference) -> Endpoint:
    """The registry that serves an image; docker.io's names are where the settings say."""
    if reference.registry == DOCKER_HUB_HOST:
        return Endpoint.parse(config.hub_registry)
    return Endpoint(reference.registry)


def mirrors_of(config: Config, reference: ImageReference) -> tuple[Endpoint, ...]:
    """The mirrors of an image's registry, in the order in which they are asked."""
    names = HUB_NAMES if reference.registry == DOCKER_HUB_HOST else {reference.registry.lower()}
    return tuple(Endpoint.parse(url) for name, url in config.registry_mirrors if name in names)
