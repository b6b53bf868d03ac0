"""Pulls: from a reference to a digest, a manifest, a configuration and layers."""

from __future__ import annotations

import io
import re
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
from udocker.registry.download import Download, Received
from udocker.registry.sites import Site, Sites
from udocker.registry.words import printable

# Registries need not take larger manifests (OCI distribution specification, Pushing Manifests).
MAX_MANIFEST = 4 << 20
MAX_CONFIG = 16 << 20
MAX_INDEX_DEPTH = 3
_ACCEPT = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
# What some tools leave in the fields of a configuration that is for no platform in particular.
_ANY = frozenset({"", "unknown"})
# Archives, compressed or not, in OCI's spelling and docker's (OCI image specification, media-types.md).
_LAYER = re.compile(r"[./+-]tar(?:[.+](?:gzip|zstd|bzip2|xz))?$")
_WEB = re.compile(r"https?://[^/]", re.IGNORECASE)
_MOST_URLS = 8
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
        self._sites = Sites(config, reference, act, sleep)
        self._transport = self._sites.registry.transport
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
        self._sites.close()

    def stop(self) -> None:
        """End what other threads are doing with this client: they get a RegistryError, soon."""
        self._sites.stop()

    def check_stopped(self) -> None:
        """Raise RegistryError after ``stop``."""
        self._sites.check_stopped()

    def resolve(self) -> Resolved:
        """What the reference names, without fetching it where the registry allows; raises RegistryError.

        Asks by HEAD, which registries that count pulls do not count.
        """
        return self._sites.ask(self._resolve_at)

    def _resolve_at(self, site: Site) -> Resolved:
        selector = self._reference.selector
        with site.open("HEAD", f"manifests/{selector}", _ACCEPT) as response:
            text = response.headers.get("Docker-Content-Digest", "")
            if response.status_code == 200 and text:
                digest, asked = self._digest(text), self._reference.digest
                if asked is None or asked == digest:
                    return Resolved(digest, _media_type(response))
        # No digest or an unexpected one, or a failure, which has no words in an answer to HEAD.
        document = self._manifest_at(site, selector)
        self._fetched[document.digest] = document
        return Resolved(document.digest, document.media_type)

    def manifest(self, selector: Union[str, Digest]) -> Document:
        """The manifest or index that a tag or digest names, verified against a digest.

        Raises RegistryError.
        """
        expected = _as_digest(selector)
        if expected is not None and expected in self._fetched:
            return self._fetched[expected]
        return self._sites.ask(lambda site: self._manifest_at(site, str(selector)))

    def _manifest_at(self, site: Site, selector: str) -> Document:
        expected = _as_digest(selector)
        path = f"manifests/{selector}"
        response, raw = site.transport.read(lambda: site.open("GET", path, _ACCEPT), MAX_MANIFEST)
        declared = response.headers.get("Docker-Content-Digest", "")
        wanted = expected or (self._digest(declared) if declared else Digest.of(raw))
        if not wanted.matches(raw):
            raise self._transport.error(
                f"manifest {wanted}: the registry sent {Digest.of(raw)}", _OTHER_CONTENT
            )
        document = Document(raw, _media_type(response), wanted)
        if site.is_mirror:
            self._parse(document)  # a login page with status 200 is a failure of the mirror's
        return document

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
                self._check_layers(found)
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

        received = Received(on_bytes)

        def fetch(site: Site) -> None:
            def open_blob(headers: dict[str, str]) -> requests.Response:
                return site.open("GET", f"blobs/{descriptor.digest}", "*/*", headers)

            received.forget()
            Download(site.transport, open_blob, descriptor, sink, received.add).run()

        try:
            self._sites.ask(fetch)
        except RegistryError as failure:
            if failure.status != 404 or not descriptor.urls:
                raise
            self._foreign_blob(descriptor, sink, received)

    def _foreign_blob(self, descriptor: Descriptor, sink: BinaryIO, received: Received) -> None:
        """A layer that the registry need not have, from its ``urls`` (OCI descriptor.md)."""
        urls = [url for url in descriptor.urls if _WEB.match(url) and url.isprintable()]
        failure = self._error_of(descriptor, "it is at no web address either")
        for url in urls[:_MOST_URLS]:

            def open_url(headers: dict[str, str], url: str = url) -> requests.Response:
                return self._transport.send("GET", url, headers)

            try:
                received.forget()
                return Download(self._transport, open_url, descriptor, sink, received.add).run()
            except RegistryError as error:
                failure = error
        raise failure

    def _error_of(self, descriptor: Descriptor, cause: str) -> RegistryError:
        return self._transport.error(f"layer {descriptor.digest}: {cause}", status=404)

    def _check_layers(self, manifest: Manifest) -> None:
        """Refuse what is no layer of files: encrypted ones, charts, attestations."""
        for layer in manifest.layers:
            if layer.media_type and not _LAYER.search(layer.media_type):
                kind = printable(layer.media_type, 100)
                cause = f"layer {layer.digest.short}: its media type is not one of a file system: {kind}"
                raise self._transport.error(cause, "is this reference a container image?")

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
