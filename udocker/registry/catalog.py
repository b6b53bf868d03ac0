"""Lists that registries give: tags of a repository, repositories, and what a search finds.

Lists of the distribution API go on where a Link header says (OCI distribution specification, Listing Tags);
it is followed on the registry itself alone.  Docker Hub's search is at another address, its index.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional
from urllib.parse import urlencode, urljoin, urlsplit

from udocker.config import Config
from udocker.errors import RegistryError
from udocker.model.reference import ImageReference
from udocker.registry.auth import CATALOG_SCOPE
from udocker.registry.endpoint import Endpoint, registry_of
from udocker.registry.session import RegistrySession
from udocker.registry.words import printable

_LARGEST_PAGE = 16 << 20
_MOST_PAGES = 10_000
_NEXT = re.compile(r'<([^<>]{1,8192})>[^,]*;\s*rel="?next"?', re.IGNORECASE)
# What says that this registry has no such list; some ask for a login at every address.
_NO_SUCH_LIST = frozenset({400, 401, 403, 404, 405, 410, 501})


@dataclass(frozen=True)
class Found:
    """A repository that a search found; ``stars`` is empty where nobody counts them."""

    name: str
    official: bool = False
    description: str = ""
    stars: str = ""


def tags(config: Config, reference: ImageReference) -> Iterator[str]:
    """Every tag of the reference's repository, in the registry's order; raises RegistryError."""
    at = registry_of(config, reference)
    subject = f"search: {reference.name}"
    with RegistrySession(config, at, subject, at.scope(reference)) as session:
        yield from _listed(session, f"{at.base(reference)}/tags/list", "tags")


def search(config: Config, registry: str, words: str, page_size: int) -> Iterator[list[Found]]:
    """Pages of what ``registry`` finds for ``words``: by the search of docker's first API, else by names.

    Raises RegistryError.
    """
    subject = f"search: {registry}"
    with RegistrySession(config, Endpoint(registry), subject, CATALOG_SCOPE) as session:
        pages = _pages(session, "/v1/search", {"q": words, "n": str(page_size)}, "num_pages")
        first = _first(pages)
        if first is not None:
            yield first
            yield from pages
            return
        names = (name for name in _listed(session, "/v2/_catalog", "repositories") if words in name)
        page: list[Found] = []
        for name in names:
            page.append(Found(name))
            if len(page) == page_size:
                yield page
                page = []
        yield page


def search_index(config: Config, words: str, page_size: int) -> Iterator[list[Found]]:
    """Pages of what Docker Hub's index finds for ``words``; raises RegistryError."""
    index = urlsplit(config.hub_index)
    with RegistrySession(config, Endpoint(index.netloc), f"search: {index.netloc}", "") as session:
        query = {"query": words or "*", "page_size": str(page_size)}
        yield from _pages(session, f"{index.path.rstrip('/')}/v2/search/repositories/", query, "")


def _pages(
    session: RegistrySession, path: str, query: Mapping[str, str], total: str
) -> Iterator[list[Found]]:
    """Pages by number; the last is the one numbered ``total``, or the one that names no next."""
    for number in range(1, _MOST_PAGES + 1):
        document = _page(session, f"{path}?{urlencode({**query, 'page': str(number)})}")[0]
        results = document.get("results")
        if not isinstance(results, list):
            raise session.transport.error("its answer holds no results")
        yield [_found(entry) for entry in results if isinstance(entry, Mapping)]
        # The next page's address is not followed, it is only a sign that there is one.
        more = number < _number(document.get(total)) if total else bool(document.get("next"))
        if not results or not more:
            return


def _first(pages: Iterator[list[Found]]) -> Optional[list[Found]]:
    """The first page; None where the registry has no such search."""
    try:
        return next(pages)
    except RegistryError as failure:
        # Registries need not have this search: the caller knows another way.  An answer that is a web page or
        # other nonsense, with no status, is that of a registry that has something else at this address.
        if failure.status in _NO_SUCH_LIST or (failure.status == 0 and not failure.url):
            return None
        raise


def _found(entry: Mapping[str, Any]) -> Found:
    """One result; the two APIs of docker name the same things differently."""
    name = entry.get("name") or entry.get("repo_name")
    description = entry.get("description") or entry.get("short_description")
    stars = entry.get("star_count")
    return Found(
        printable(name, 255) if isinstance(name, str) else "",
        entry.get("is_official") is True,
        printable(description.partition("\n")[0], 500) if isinstance(description, str) else "",
        str(stars) if isinstance(stars, int) else "",
    )


def _listed(session: RegistrySession, path: str, key: str) -> Iterator[str]:
    """The strings in ``key`` of every page of a list."""
    at = path
    for _ in range(_MOST_PAGES):
        document, link = _page(session, at)
        entries = document.get(key) or []  # null where there are none
        if not isinstance(entries, list):
            raise session.transport.error(f"its answer holds no {key}")
        yield from (entry for entry in entries if isinstance(entry, str))
        following = _next(session, at, path, link)
        if not following:
            return
        at = following
    raise session.transport.error(f"its list has more than {_MOST_PAGES} pages")


def _next(session: RegistrySession, at: str, path: str, link: str) -> str:
    """The path and query that a Link header gives; raises RegistryError where it leads elsewhere."""
    match = _NEXT.search(link[:16384])
    if match is None:
        return ""
    base = session.transport.address(at)
    try:
        target = urljoin(base, match[1])
        parts = urlsplit(target)
        same = session.transport.is_registry(target) and parts.path == path and "@" not in parts.netloc
    except ValueError:
        # Neither a host nor a port can be read from it.
        same = False
    following = f"{path}?{parts.query}" if same else ""
    if not same or not following.isprintable() or following == at:
        raise session.transport.error(
            f"its list goes on elsewhere: {printable(match[1], 100)!r}: not followed"
        )
    return following


def _page(session: RegistrySession, at: str) -> tuple[Mapping[str, Any], str]:
    response, body = session.transport.read(
        lambda: session.open("GET", at, "application/json"), _LARGEST_PAGE
    )
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        # Reported below.
        document = None
    if not isinstance(document, dict):
        raise session.transport.error("its answer is not a list in JSON")
    return document, response.headers.get("Link", "")


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
