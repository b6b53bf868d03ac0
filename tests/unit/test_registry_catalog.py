"""Lists of tags and repositories, and searches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.services import faulty_registry as faulty
from tests.services.faulty_registry import Answer, FaultyRegistry, Request
from udocker.config import Config, index_address
from udocker.errors import ConfigError, RegistryError
from udocker.model.reference import ImageReference
from udocker.registry.catalog import Found, search, search_index, tags

LIST = "GET /v2/team/app/tags/list"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(tmp_path, registry_retries=0, registry_timeout=5.0)


def answers(registry: FaultyRegistry, pattern: str, document: Any, link: str = "") -> None:
    headers = {"Link": link} if link else {}
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    registry.fail(pattern, lambda request, answer: Answer(200, headers, body))


def listed(config: Config, registry: FaultyRegistry) -> list[str]:
    return list(tags(config, ImageReference.parse(f"{registry.host}/team/app")))


@pytest.mark.parametrize(
    "link",
    [
        '</v2/team/app/tags/list?last=b&n=2>; rel="next"',
        "<list?last=b&n=2>; rel=next",
        '<URL/v2/team/app/tags/list?last=b&n=2>; rel="next"',
    ],
)
def test_a_list_goes_on_where_its_link_says(registry: FaultyRegistry, config: Config, link: str) -> None:
    answers(registry, LIST, {"tags": ["a", "b"]}, link.replace("URL", registry.url))
    answers(registry, rf"{LIST}\?last=b", {"tags": ["c"]})
    assert listed(config, registry) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/v2/team/app/tags/list?n=1",
        "//evil.example/v2/team/app/tags/list?n=1",
        "HOST@evil.example/v2/team/app/tags/list",
        "http://u:p@HOST/v2/team/app/tags/list?n=1",
        "ftp://HOST/v2/team/app/tags/list?n=1",
        "/v2/team/secret/tags/list?n=1",
        "/v2/team/app/tags/list/../../../x",
        "http://[bad/",
        "\x1b[31m",
    ],
)
def test_a_link_to_elsewhere_is_refused_and_not_followed(
    registry: FaultyRegistry, config: Config, target: str
) -> None:
    answers(registry, LIST, {"tags": ["a"]}, f'<{target.replace("HOST", registry.host)}>; rel="next"')
    with pytest.raises(RegistryError, match="goes on elsewhere") as caught:
        listed(config, registry)
    assert "\x1b" not in str(caught.value)
    assert len(registry.requests) == 1


def test_a_list_that_leads_to_itself_ends(registry: FaultyRegistry, config: Config) -> None:
    answers(registry, LIST, {"tags": ["a"]}, '</v2/team/app/tags/list?n=1>; rel="next"')
    with pytest.raises(RegistryError, match="elsewhere"):
        listed(config, registry)


@pytest.mark.parametrize("document", [b"<html>", b"[]", {"tags": "x"}, b"[" * 100_000])
def test_what_is_no_list_is_told(registry: FaultyRegistry, config: Config, document: Any) -> None:
    answers(registry, LIST, document)
    with pytest.raises(RegistryError, match="its answer"):
        listed(config, registry)


def test_a_repository_without_tags_has_none(registry: FaultyRegistry, config: Config) -> None:
    answers(registry, LIST, {"name": "team/app", "tags": None})
    assert listed(config, registry) == []


def test_an_unknown_repository_is_told(registry: FaultyRegistry, config: Config) -> None:
    registry.fail(LIST, faulty.errors(404, "NAME_UNKNOWN", "unknown"))
    with pytest.raises(RegistryError, match="no such repository"):
        listed(config, registry)


def test_search_of_the_hub_asks_for_pages_until_there_is_no_next(
    registry: FaultyRegistry, config: Config
) -> None:
    def page(request: Request, answer: Answer) -> Answer:
        number = int(parse_qs(urlsplit(request.path).query)["page"][0])
        result = {"repo_name": f"n{number}", "short_description": "d\x1b[2J\nmore", "star_count": number}
        following = "http://evil.example/" if number < 3 else None
        return Answer(200, {}, json.dumps({"results": [result], "next": following}).encode())

    registry.fail("GET /v2/search/repositories/", page)
    found = [entry for part in search_index(_at(config, registry), "a b&c", 1) for entry in part]
    assert [(entry.name, entry.stars) for entry in found] == [("n1", "1"), ("n2", "2"), ("n3", "3")]
    assert "\x1b" not in found[0].description and "more" not in found[0].description
    (first, *_) = registry.requests
    assert parse_qs(urlsplit(first.path).query)["query"] == ["a b&c"]


def _at(config: Config, registry: FaultyRegistry) -> Config:
    return Config(config.udocker_dir, hub_index=registry.url, registry_retries=0)


def test_search_uses_the_first_api_where_there_is_one(registry: FaultyRegistry, config: Config) -> None:
    result = {"name": "team/app", "description": "text", "star_count": 7, "is_official": True}
    answers(registry, "GET /v1/search", {"num_pages": 1, "results": [result]})
    assert list(search(config, registry.host, "app", 10)) == [[Found("team/app", True, "text", "7")]]


def test_search_looks_through_the_names_where_there_is_no_search(
    registry: FaultyRegistry, config: Config
) -> None:
    answers(registry, "GET /v2/_catalog", {"repositories": ["a/app", "b", "c/app2", "app3"]})
    found = list(search(config, registry.host, "app", 2))
    assert found == [[Found("a/app"), Found("c/app2")], [Found("app3")]]


def test_search_asks_for_the_catalogs_own_scope(registry: FaultyRegistry, config: Config) -> None:
    registry.require_tokens()
    answers(registry, "GET /v2/_catalog", {"repositories": ["x"]})
    registry.fail(
        "GET /v2/_catalog",
        faulty.errors(401, "UNAUTHORIZED"),
        faulty.header("WWW-Authenticate", f'Bearer realm="{registry.url}/token",scope="registry:catalog:*"'),
        times=1,
    )
    list(search(config, registry.host, "x", 2))
    assert any("scope=registry%3Acatalog%3A%2A" in request.path for request in registry.asked("GET /token"))


def test_a_registry_that_fails_is_not_searched_by_names(registry: FaultyRegistry, config: Config) -> None:
    registry.fail(".*", faulty.status(503))
    with pytest.raises(RegistryError, match="503"):
        list(search(config, registry.host, "app", 2))


def test_an_index_needs_an_address() -> None:
    assert index_address("hub.example/x") == "https://hub.example/x"
    with pytest.raises(ConfigError, match="UDOCKER_INDEX"):
        index_address("ftp://x y")
