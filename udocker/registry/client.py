"""Pulls: from a reference to a digest, a manifest, a configuration and layers."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Callable, Optional, Union

import requests

from udocker.config import Config
from udocker.errors import RegistryError, StoreCorrupt, UdockerError, UsageError
from udocker.model.digest import Digest
from udocker.model.manifest import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    ImageConfig,
    ImageIndex,
    Manifest,
    Platform,
    parse_manifest,
)
from udocker.model.reference import ImageReference
from udocker.registry.download import Download
from udocker.registry.session import RegistrySession
from udocker.registry.words import printable

# Registries need not take larger manifests (OCI distribution specification, Pushing Manifests).
MAX_MANIFEST = 4 << 20
MAX_CONFIG = 16 << 20
MAX_INDEX_DEPTH = 3
_ACCEPT = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
# What some tools leave in the fields of a configuration that is for no platform in particular.
_ANY = frozenset({"", "unknown"})
_OTHER_CONTENT = "is a proxy or a login page answering for the registry?"


@dataclass(frozen=True)
class Resolved:
    """What a reference names now: a manifest or an index."""

    digest: Digest
    media_type: str = ""


@dataclass(frozen=True)
class Document:
    """A manifest or index as the registry sent it; ``digest`` is that of ``raw``."""

    raw: bytes = field(repr=False)
    media_type: str
    digest: Digest


@dataclass(frozen=True)
class RemoteImage:
    """An image for one platform, its layers still at the registry.

    ``digest`` is of what the reference names: ``index`` where there is one, else ``manifest``.
    """

    reference: ImageReference
    digest: Digest
    index: Optional[ImageIndex]
    manifest: Manifest
    config: ImageConfig
    config_raw: bytes = field(repr=False)


class RegistryClient:
    """One image's repository; a context manager.  Every failure there is a RegistryError."""

    def __init__(
        self,
        config: Config,
        reference: ImageReference,
        sleep: Callable[[float], None] = time.sleep,
        act: str = "pull",
    ) -> None:
        self._reference = reference
        scope = f"repository:{reference.repository}:pull"
        self._session = RegistrySession(config, reference.registry, f"{act}: {reference}", scope, sleep=sleep)
        self._transport = self._session.transport
        self._open = self._session.open
        self._base = f"/v2/{reference.repository}"
        # What resolve() had to fetch as a whole, so that it is not fetched, and counted, twice.
        self._fetched: dict[Digest, Document] = {}

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def resolve(self) -> Resolved:
        """What the reference names, without fetching it where the registry allows; raises RegistryError.

        Asks by HEAD, which registries that count pulls do not count.
        """
        with self._open("HEAD", self._manifest_path(self._reference.selector), _ACCEPT) as response:
            text = response.headers.get("Docker-Content-Digest", "")
            if response.status_code == 200 and text:
                digest, asked = self._digest(text), self._reference.digest
                if asked is None or asked == digest:
                    return Resolved(digest, _media_type(response))
        # No digest or an unexpected one, or a failure, which has no words in an answer to HEAD.
        document = self.manifest(self._reference.selector)
        self._fetched[document.digest] = document
        return Resolved(document.digest, document.media_type)

    def manifest(self, selector: Union[str, Digest]) -> Document:
        """The manifest or index that a tag or digest names, verified against a digest.

        Raises RegistryError.
        """
        expected = _as_digest(selector)
        if expected is not None and expected in self._fetched:
            return self._fetched[expected]
        path = self._manifest_path(str(selector))
        response, raw = self._transport.read(lambda: self._open("GET", path, _ACCEPT), MAX_MANIFEST)
        declared = response.headers.get("Docker-Content-Digest", "")
        wanted = expected or (self._digest(declared) if declared else Digest.of(raw))
        if not wanted.matches(raw):
            raise self._transport.error(
                f"manifest {wanted}: the registry sent {Digest.of(raw)}", _OTHER_CONTENT
            )
        return Document(raw, _media_type(response), wanted)

    def fetch_image(
        self, platform: Platform, strict: bool = True, at: Optional[Digest] = None
    ) -> RemoteImage:
        """Manifest and configuration of the image for ``platform``; raises RegistryError.

        ``at`` is what resolve() gave, so that a tag which moves meanwhile does no harm.  Without
        ``strict`` a configuration for another platform is taken as well.
        """
        selector = str(at or self._reference.selector)
        document = self.manifest(selector)
        digest, found = document.digest, self._parse(document)
        index = found if isinstance(found, ImageIndex) else None
        for _ in range(MAX_INDEX_DEPTH + 1):
            if isinstance(found, Manifest):
                config, raw = self._config(found, platform, strict)
                return RemoteImage(self._reference, digest, index, found, config, raw)
            found = self._parse(self.manifest(self._choose(found, platform).digest))
        raise self._transport.error(f"an index inside an index, more than {MAX_INDEX_DEPTH} deep")

    def blob(
        self,
        descriptor: Descriptor,
        sink: Union[Path, BinaryIO],
        on_bytes: Optional[Callable[[int], None]] = None,
    ) -> None:
        """Bring a blob into ``sink``, continuing what the file holds of it, and verify it.

        ``sink`` is a path, created if need be, or a file open for reading and writing.  ``on_bytes`` is
        called with the number of bytes that have come; it is negative when the download starts again.
        Raises RegistryError, and OSError where the sink cannot be written.  After an error the sink holds
        a beginning of the blob, or nothing; it never holds a complete blob that is wrong.
        """
        if isinstance(sink, Path):
            # "a+b" opens for both and creates; each write goes to the end, which is where it belongs.
            with sink.open("a+b") as file:
                return self.blob(descriptor, file, on_bytes)

        def open_blob(headers: dict[str, str]) -> requests.Response:
            return self._open("GET", f"{self._base}/blobs/{descriptor.digest}", "*/*", headers)

        return Download(self._transport, open_blob, descriptor, sink, on_bytes).run()

    def _manifest_path(self, selector: str) -> str:
        return f"{self._base}/manifests/{selector}"

    def _digest(self, text: str) -> Digest:
        try:
            return Digest.parse(text.strip())
        except UsageError:
            raise self._transport.error(f"not a digest: {printable(text, 100)!r}", _OTHER_CONTENT) from None

    def _parse(self, document: Document) -> Union[Manifest, ImageIndex]:
        try:
            return parse_manifest(document.raw, document.media_type)
        except (StoreCorrupt, RecursionError) as error:
            kind = printable(document.media_type, 80) or "no content type"
            raise self._nonsense(f"the registry's answer ({kind}) is not a manifest", error) from error

    def _choose(self, index: ImageIndex, platform: Platform) -> Descriptor:
        chosen = index.choose(platform)
        if chosen is None and len(index.manifests) == 1 and index.manifests[0].platform is None:
            # An index of one image need not say its platform; the configuration does.
            chosen = index.manifests[0]
        if chosen is None:
            offered = printable(", ".join(sorted(set(index.platforms()))), 400) or "none"
            raise self._transport.error(
                f"no image for {platform}; there are: {offered}",
                "choose one with --platform, if this machine can run it",
            )
        return chosen

    def _config(self, manifest: Manifest, platform: Platform, strict: bool) -> tuple[ImageConfig, bytes]:
        if manifest.config.size > MAX_CONFIG:
            raise self._transport.error(f"its configuration is longer than {MAX_CONFIG} bytes")
        sink = io.BytesIO()
        self.blob(manifest.config, sink)
        raw = sink.getvalue()
        try:
            config = ImageConfig.parse(raw)
        except (StoreCorrupt, RecursionError, TypeError) as error:
            kind = printable(manifest.config.media_type, 80) or "no media type"
            raise self._nonsense(f"not an image that can be run ({kind})", error) from error
        if strict and not _serves(config.platform, platform):
            raise self._transport.error(
                f"the image is for {printable(str(config.platform), 100)}, not for {platform}",
                "its maintainers may have one for this platform under another tag",
            )
        return config, raw

    def _nonsense(self, what: str, error: Exception) -> RegistryError:
        cause = printable(error.message if isinstance(error, UdockerError) else str(error), 200)
        hint = error.hint if isinstance(error, UdockerError) else ""
        return self._transport.error(f"{what}: {cause}", hint or _OTHER_CONTENT)


def _serves(built: Platform, wanted: Platform) -> bool:
    """Whether a configuration's platform suits; variants are the index's business."""
    return built.os in (wanted.os, *_ANY) and built.architecture in (wanted.architecture, *_ANY)


def _as_digest(selector: Union[str, Digest]) -> Optional[Digest]:
    """The digest that a selector is; None for a tag, which cannot hold a colon."""
    if isinstance(selector, Digest):
        return selector
    return Digest.parse(selector) if ":" in selector else None


def _media_type(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
