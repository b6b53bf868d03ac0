"""Image references, as docker and udocker users write them.

The grammar is that of github.com/distribution/reference:
``[host[:port]/]path[:tag][@digest]``.  The first component is a host when it holds a dot or a colon
or is ``localhost``; otherwise the image is on Docker Hub, where a single name lies under ``library/``.
"""

from __future__ import annotations

import re

from udocker.errors import UsageError
from udocker.model.digest import Digest
from udocker.values import TYPE_CHECKING, dataclass, replace

if TYPE_CHECKING:
    from typing import Optional

DOCKER_HUB = "docker.io"
DOCKER_HUB_HOST = "registry-1.docker.io"
# Every name under which users write Docker Hub, none included.
_HUB_NAMES = ("", DOCKER_HUB, "index.docker.io", DOCKER_HUB_HOST)
DEFAULT_TAG = "latest"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_DOMAIN_PART = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = re.compile(rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]{{1,5}})?")
_TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_MAX_NAME = 255
_MAX_PORT = 65535


@dataclass(frozen=True)
class ImageReference:
    """A named image: ``host`` is empty when the user wrote none.

    At least one of ``tag`` and ``digest`` is set; with both, the digest decides.
    """

    host: str
    path: str
    tag: str
    digest: Optional[Digest] = None

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read what a user typed; raises UsageError with the offending part."""
        if "://" in text:
            raise _invalid(text, "the name of an image begins without a scheme")
        rest, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        host, path = _split_host(rest)
        path, colon, tag = path.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise _invalid(text, f"tag {tag!r} has characters that a tag cannot have")
        if host and not (_HOST.fullmatch(host) and _port(host) <= _MAX_PORT):
            raise _invalid(text, f"{host!r} is not a registry host")
        if not path or not _PATH.fullmatch(path):
            cause = f"{path!r} is not a repository name (lower-case letters, digits, . _ -)"
            raise _invalid(text, cause, lower_case_hint(text))
        if len(path) > _MAX_NAME:
            raise _invalid(text[:40] + "…", f"the name is longer than {_MAX_NAME} characters")
        if not colon and digest is None:
            tag = DEFAULT_TAG
        return cls(host, path, tag, digest)

    @property
    def name(self) -> str:
        """Host and path as the user wrote them, the key of the image in the store."""
        return f"{self.host}/{self.path}" if self.host else self.path

    @property
    def registry(self) -> str:
        """The host (and port) that serves the image."""
        return DOCKER_HUB_HOST if self.host in _HUB_NAMES else self.host

    @property
    def repository(self) -> str:
        """The repository's path on its registry."""
        if self.host in _HUB_NAMES and "/" not in self.path:
            return f"library/{self.path}"
        return self.path

    @property
    def selector(self) -> str:
        """What names the image in its repository: the digest where there is one, else the tag."""
        return str(self.digest) if self.digest else self.tag

    def pinned(self, digest: Digest) -> ImageReference:
        """The same image, by digest alone."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def _split_host(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first, rest
    return "", text


def _port(host: str) -> int:
    digits = host.rpartition("]")[2].rpartition(":")[2]
    return int(digits) if ":" in host.rpartition("]")[2] else 0


def lower_case_hint(text: str) -> str:
    """What to write instead of a reference in which capitals alone are wrong; empty for any other."""
    host, path = _split_host(text.partition("@")[0])
    path = path.partition(":")[0]
    if not _PATH.fullmatch(path.lower()) or path == path.lower():
        return ""
    name = f"{host}/{path.lower()}" if host else path.lower()
    return f"names of images are in lower case: {name}{text[len(name) :]}"


def _invalid(text: str, cause: str, hint: str = "") -> UsageError:
    hint = hint or "write [host[:port]/]name[:tag][@digest]"
    return UsageError(f"image reference: {text!r}: {cause}", hint)
