"""Where an image comes from: mirrors, another registry for docker.io's names, the web for foreign layers."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.services import faulty_registry as faulty
from tests.services.faulty_registry import Fault, FaultyRegistry
from tests.services.images import DOCKER_LAYER, Blob, ImageBuilder, file
from tests.unit.pulling import Puller, image_of
from udocker.config import Config
from udocker.errors import ConfigError
from udocker.model.reference import ImageReference
from udocker.registry.endpoint import Endpoint, mirrors_of, registry_of

LARGE = os.urandom(3 << 20)
FOREIGN = DOCKER_LAYER.replace("rootfs.diff", "rootfs.foreign.diff")
ALL, BLOB = ".*", "GET .*/blobs/"


@pytest.fixture
def mirror() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as service:
        yield service


@pytest.fixture
def mirrored(registry: FaultyRegistry, mirror: FaultyRegistry, udocker: Puller) -> str:
    """The digest of the layer of team/app:1, which both have, with the mirror in the settings."""
    for place in (registry, mirror):
        builder = image_of(place, LARGE)
    udocker.settings["UDOCKER_REGISTRY_MIRRORS"] = f"{registry.host}={mirror.host}"
    (digest,) = [digest for digest, blob in builder.blobs.items() if "tar" in blob.media_type]
    return digest


def pull_is_whole(udocker: Puller, registry: FaultyRegistry) -> str:
    image = f"{registry.host}/team/app:1"
    said = udocker.good(image)
    assert udocker("verify", image).status == 0
    assert udocker.leftovers_of_pull() == []
    return said


def test_a_mirror_that_has_everything_is_asked_alone(
    registry: FaultyRegistry, mirror: FaultyRegistry, udocker: Puller, mirrored: str
) -> None:
    assert "without the mirror" not in pull_is_whole(udocker, registry)
    assert registry.requests == []
    assert len(mirror.asked(f"{BLOB}{mirrored}")) == 1


@pytest.mark.parametrize(
    "fault",
    [
        faulty.drop(),
        faulty.status(500),
        faulty.status(404),
        faulty.status(401, WWW_Authenticate='Basic realm="x"'),
        faulty.status(429, Retry_After="3600"),
        faulty.status(200, b"<html>login</html>", Content_Type="text/html"),
        faulty.redirect("{path}"),
        faulty.hang(3),
        faulty.header("Docker-Content-Digest", "nonsense"),
        faulty.drip(0.2, head=True),
    ],
    ids=lambda value: "",
)
def test_a_mirror_that_fails_from_the_start_is_told_and_gone_without(
    registry: FaultyRegistry, mirror: FaultyRegistry, udocker: Puller, mirrored: str, fault: Fault
) -> None:
    mirror.fail(ALL, fault)
    assert f"going on without the mirror {mirror.host}" in pull_is_whole(udocker, registry)


@pytest.mark.parametrize(
    ("fault", "resumed"),
    [
        (faulty.cut(2 << 20), True),
        (faulty.reset(2 << 20), None),
        (faulty.body(b"z" * (2 << 20)), True),
        (faulty.body(b"z" * (3 << 20)), None),
        (faulty.more(b"z"), False),
        (faulty.status(404), False),
        (faulty.drop(), False),
    ],
    ids=lambda value: "",
)
def test_a_mirror_that_fails_in_the_middle_is_continued_by_the_registry(
    registry: FaultyRegistry,
    mirror: FaultyRegistry,
    udocker: Puller,
    mirrored: str,
    fault: Fault,
    resumed: object,
) -> None:
    mirror.fail(f"{BLOB}{mirrored}", fault)
    assert f"going on without the mirror {mirror.host}" in pull_is_whole(udocker, registry)
    first = registry.asked(f"{BLOB}{mirrored}")[0]
    assert resumed is None or ("range" in first.headers) is resumed
    assert not registry.asked("GET .*/manifests/")


def test_a_mirror_that_lacks_one_blob_is_asked_for_the_others(
    registry: FaultyRegistry, mirror: FaultyRegistry, udocker: Puller
) -> None:
    for place in (registry, mirror):
        builder = image_of(place, b"a", b"b", b"c")
    udocker.settings["UDOCKER_REGISTRY_MIRRORS"] = f"{registry.host}={mirror.host}"
    lost, *others = [digest for digest, blob in builder.blobs.items() if "tar" in blob.media_type]
    mirror.fail(f"{BLOB}{lost}", faulty.status(404))
    pull_is_whole(udocker, registry)
    assert [request.path for request in registry.requests] == [f"/v2/team/app/blobs/{lost}"]


def test_a_mirror_that_wants_a_long_pause_is_not_waited_for(
    registry: FaultyRegistry, mirror: FaultyRegistry, udocker: Puller, mirrored: str
) -> None:
    udocker.settings["UDOCKER_REGISTRY_RETRIES"] = "3"
    mirror.fail(ALL, faulty.status(429, Retry_After="100"))
    assert f"come back in 100 s; going on without the mirror {mirror.host}" in pull_is_whole(
        udocker, registry
    )


def test_mirrors_are_asked_in_their_order(
    registry: FaultyRegistry, mirror: FaultyRegistry, udocker: Puller, mirrored: str
) -> None:
    with FaultyRegistry() as first:
        first.fail(ALL, faulty.status(500))
        udocker.settings["UDOCKER_REGISTRY_MIRRORS"] = (
            f"other.example=nowhere.example, {registry.host}={first.host},{registry.host}={mirror.host}"
        )
        pull_is_whole(udocker, registry)
        assert len(first.requests) == 1
    assert mirror.requests and not registry.requests


def test_what_the_registry_says_counts_where_no_place_has_it(
    registry: FaultyRegistry, mirror: FaultyRegistry, udocker: Puller
) -> None:
    udocker.settings["UDOCKER_REGISTRY_MIRRORS"] = f"{registry.host}={mirror.host}"
    registry.fail(ALL, faulty.errors(404, "MANIFEST_UNKNOWN", "the registry's words"))
    outcome = udocker("pull", f"{registry.host}/team/app:1")
    assert outcome.status == 125
    assert outcome.err.splitlines()[-2].endswith("404 the registry's words")


def test_a_password_of_the_registry_is_not_shown_to_a_mirror(
    registry: FaultyRegistry, mirror: FaultyRegistry, udocker: Puller, mirrored: str
) -> None:
    registry.require_basic("ann", "secret-of-registry")
    mirror.require_basic("ann", "secret-of-mirror")
    keep_passwords(udocker, {registry.host: "ann:secret-of-registry"})
    assert "a password is needed" in pull_is_whole(udocker, registry)
    assert mirror.requests and all("authorization" not in request.headers for request in mirror.requests)
    assert registry.requests


def test_a_password_of_the_mirror_is_shown_to_it(
    registry: FaultyRegistry, mirror: FaultyRegistry, udocker: Puller, mirrored: str
) -> None:
    mirror.require_tokens("ann", "secret-of-mirror")
    keep_passwords(udocker, {mirror.host: "ann:secret-of-mirror"})
    pull_is_whole(udocker, registry)
    assert registry.requests == []


def keep_passwords(udocker: Puller, passwords: dict[str, str]) -> None:
    directory = udocker.directory / ".docker"
    directory.mkdir()
    entries = {host: {"auth": base64.b64encode(text.encode()).decode()} for host, text in passwords.items()}
    (directory / "config.json").write_text(json.dumps({"auths": entries}))


@pytest.mark.parametrize(
    "name", ["alpine", "docker.io/alpine", "docker.io/library/alpine", "index.docker.io/alpine"]
)
@pytest.mark.parametrize("how", ["option", "variable", "file", "mirror"])
def test_names_of_docker_io_are_where_the_settings_say(
    registry: FaultyRegistry, udocker: Puller, name: str, how: str
) -> None:
    image_of(registry, b"a", name="library/alpine")
    registry.put("library/alpine", "latest", registry.content("library/alpine", "1"))
    options = []
    if how == "option":
        options = [f"--registry={registry.url}"]
    elif how == "variable":
        udocker.settings["UDOCKER_REGISTRY"] = registry.url
    elif how == "mirror":
        udocker.settings["UDOCKER_REGISTRY_MIRRORS"] = f"docker.io={registry.url}"
    else:
        (udocker.directory / ".udocker").mkdir()
        conf = udocker.directory / ".udocker" / "udocker.conf"
        conf.write_text(f"[DEFAULT]\ndockerio_registry_url = {registry.url}\n")
    udocker.good(*options, name)
    assert f"{name}:latest" in udocker("images").out
    if how != "mirror":
        assert udocker("manifest", "inspect", *options, name).status == 0
    if how == "variable":
        registry.fail("GET .*/tags/list", faulty.status(200, b'{"tags": ["one", "two"]}'))
        assert udocker("search", "--list-tags", name).out == "one\ntwo\n"


def test_a_registry_named_by_http_is_asked_by_nothing_else(registry: FaultyRegistry, tmp_path: Path) -> None:
    for url, plain in (("http://r.example:5000", True), ("https://r.example:5000/v2/", False)):
        config = replace(Config(tmp_path), hub_registry=url)
        at = registry_of(config, ImageReference.parse("debian"))
        assert at == Endpoint("r.example:5000", "", plain)


def test_a_mirror_may_keep_repositories_under_a_prefix(tmp_path: Path) -> None:
    mirrors = (("docker.io", "https://harbor.example/proxy/hub"), ("quay.io", "http://m.example"))
    config = Config(tmp_path, registry_mirrors=mirrors)
    reference = ImageReference.parse("debian:12")
    (at,) = mirrors_of(config, reference)
    assert at.base(reference) == "/v2/proxy/hub/library/debian"
    assert at.scope(reference) == "repository:proxy/hub/library/debian:pull"
    assert mirrors_of(config, ImageReference.parse("QUAY.IO/a/b")) == (Endpoint("m.example", "", True),)
    assert mirrors_of(config, ImageReference.parse("ghcr.io/a/b")) == ()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("UDOCKER_REGISTRY_MIRRORS", "docker.io="),
        ("UDOCKER_REGISTRY_MIRRORS", "docker.io=ftp://x"),
        ("UDOCKER_REGISTRY_MIRRORS", "docker.io/library=x.example"),
        ("UDOCKER_REGISTRY_MIRRORS", "docker.io=u:p@x.example"),
        ("UDOCKER_REGISTRY", "not a host"),
        ("UDOCKER_REGISTRY", "https://u:p@host"),
        ("UDOCKER_REGISTRY_PARALLEL", "1.5"),
        ("UDOCKER_REGISTRY_PARALLEL", "1000"),
        ("UDOCKER_HTTP_PROXY", "gopher://x:1"),
        ("UDOCKER_HTTP_PROXY", "socks5://ann:secret@"),
    ],
)
def test_a_place_that_is_none_is_refused(variable: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_environment({"HOME": "/h", variable: text})
    assert "secret" not in str(caught.value)


def put_foreign(registry: FaultyRegistry, *urls: str) -> Blob:
    """An image one layer of which the registry does not have."""
    builder = ImageBuilder()
    layer = builder.layer([file("a", b"a" * 5000)], docker=True)
    config = builder.config([layer], docker=True)
    described = {**layer.descriptor(), "mediaType": FOREIGN, "urls": list(urls)}
    manifest = builder.manifest(config, [layer], docker=True)
    document = {**json.loads(manifest.data), "layers": [described]}
    registry.put("team/app", config.digest, config)
    registry.put("team/app", "1", Blob(manifest.media_type, json.dumps(document).encode()))
    return layer


def test_a_foreign_layer_comes_from_its_address(
    registry: FaultyRegistry, mirror: FaultyRegistry, udocker: Puller
) -> None:
    web = f"{mirror.url}/v2/web/blobs/layer"
    mirror.put("web", "layer", put_foreign(registry, "file:///etc/passwd", f"{mirror.url}/none", web))
    pull_is_whole(udocker, registry)
    assert udocker("create", f"{registry.host}/team/app:1").status == 0


def test_a_foreign_layer_that_the_registry_has_is_taken_from_there(
    registry: FaultyRegistry, mirror: FaultyRegistry, udocker: Puller
) -> None:
    layer = put_foreign(registry, f"{mirror.url}/v2/web/blobs/layer")
    registry.put("team/app", layer.digest, layer)
    pull_is_whole(udocker, registry)
    assert mirror.requests == []


def test_a_foreign_layer_of_another_content_is_refused(
    registry: FaultyRegistry, mirror: FaultyRegistry, udocker: Puller
) -> None:
    layer = put_foreign(registry, f"{mirror.url}/v2/web/blobs/layer")
    mirror.put("web", "layer", Blob("x", b"z" * len(layer.data)))
    registry.require_tokens()
    assert "other content twice" in udocker.bad(f"{registry.host}/team/app:1")
    assert all("authorization" not in request.headers for request in mirror.requests)


def test_a_foreign_layer_that_is_nowhere_is_one_line(registry: FaultyRegistry, udocker: Puller) -> None:
    put_foreign(registry, "file:///etc/passwd", "ftp://x/y")
    assert "no web address" in udocker.bad(f"{registry.host}/team/app:1")


# As these registries write it, but for the address.
CHALLENGES = {
    "Docker Hub": 'Bearer realm="{realm}",service="registry.docker.io",scope="repository:team/app:pull"',
    "GHCR": 'Bearer realm="{realm}",service="ghcr.io",scope="repository:team/app:pull"',
    "Quay": 'Bearer realm="{realm}",service="quay.io"',
    "GitLab": 'Bearer realm="{realm}?offline=1",service="container_registry",error="invalid_token"',
}


@pytest.mark.parametrize("challenge", CHALLENGES.values(), ids=CHALLENGES)
def test_tokens_are_asked_for_as_each_registry_wants(
    registry: FaultyRegistry, udocker: Puller, challenge: str
) -> None:
    image_of(registry, b"a")
    registry.require_tokens()
    registry.challenge = challenge.format(realm=f"{registry.url}/token")
    pull_is_whole(udocker, registry)
    (asked,) = registry.asked("GET /token")
    assert "scope=repository%3Ateam%2Fapp%3Apull" in asked.path
    assert "push" not in asked.path


def test_a_password_by_basic_authentication_as_ecr_has_it(registry: FaultyRegistry, udocker: Puller) -> None:
    image_of(registry, b"a")
    token = "x" * 2000  # a password of ECR is a long token
    registry.require_basic("AWS", token)
    registry.challenge = f'Basic realm="{registry.url}/",service="ecr.amazonaws.com"'
    keep_passwords(udocker, {f"https://{registry.host}": f"AWS:{token}"})
    pull_is_whole(udocker, registry)


def test_a_token_that_expires_between_layers_and_in_a_resumed_one_is_replaced(
    registry: FaultyRegistry, udocker: Puller
) -> None:
    udocker.settings.update(UDOCKER_REGISTRY_PARALLEL="1", UDOCKER_REGISTRY_RETRIES="3")
    builder = image_of(registry, LARGE, b"b", b"c")
    registry.require_tokens(uses=1)
    large = next(digest for digest, blob in builder.blobs.items() if len(blob.data) > 1 << 20)
    registry.fail(f"{BLOB}{large}", faulty.cut_if_allowed(1 << 20), times=2)
    pull_is_whole(udocker, registry)
    assert [request.headers.get("range") for request in registry.asked(f"{BLOB}{large}")][-1] is not None
    assert len(registry.asked("GET /token")) > 4


def test_a_token_that_expires_under_several_threads_is_replaced(
    registry: FaultyRegistry, udocker: Puller
) -> None:
    image_of(registry, *(bytes([number]) for number in range(12)))
    registry.require_tokens(uses=7)
    pull_is_whole(udocker, registry)
