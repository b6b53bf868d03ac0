"""Registries that misbehave in every way: one clear line, status 125, nothing left in the store."""

from __future__ import annotations

import email.utils
import json
import time

import pytest

from tests.services import faulty_registry as faulty
from tests.services.faulty_registry import Fault, FaultyRegistry
from tests.services.images import OCI_MANIFEST, Blob, ImageBuilder
from tests.unit.pulling import Puller, image_of

BLOB, MANIFEST, ALL = "GET .*/blobs/", ".* /v2/.*/manifests/", ".*"
CONTENT = b"content" * 1000
LOGIN_PAGE = faulty.status(200, b"<html><body>Sign in</body></html>", Content_Type="text/html")


def layer_request(builder: ImageBuilder) -> str:
    """The pattern of requests for the image's layer, and not for its configuration."""
    (layer,) = [blob for blob in builder.blobs.values() if "tar" in blob.media_type]
    return f"GET .*/blobs/{layer.digest}"


LAYER_FAULTS: list[tuple[str, list[Fault], str]] = [
    ("another content", [faulty.body(b"z" * 20480)], "other content twice|more than the|stopped after"),
    ("more than announced", [faulty.more(b"x" * 1000)], "more than the"),
    ("less than announced", [faulty.content_length(1 << 20)], "more than the"),
    ("a length of nothing", [faulty.content_length(0)], "stopped after 0 of"),
    ("truncated", [faulty.cut(100)], "stopped after|connection"),
    ("endless", [faulty.endless()], "more than the"),
    ("chunks of something else, without an end", [faulty.body(b"x"), faulty.unfinished_chunks()], "in time"),
    ("reset", [faulty.reset(100)], "reset by peer"),
    ("closed without a word", [faulty.drop()], "127.0.0.1"),
    ("slow head", [faulty.drip(0.2, head=True)], "next to nothing for 1 s"),
    ("slow body", [faulty.drip(0.2)], "next to nothing for 1 s"),
    ("silence", [faulty.hang(3)], "no answer in time"),
    ("lost", [faulty.errors(404, "BLOB_UNKNOWN", "blob unknown")], "has lost a part of this image"),
    ("a login page", [LOGIN_PAGE], "more than the|stopped after|other content"),
    ("broken for good", [faulty.status(500)], "the registry failed: 500"),
    ("not implemented", [faulty.status(501)], "501"),
    ("redirects to itself", [faulty.redirect("{path}")], "more than 10 redirects"),
    ("redirects to a file", [faulty.redirect("file:///etc/passwd")], "not a web address"),
    ("forbidden", [faulty.errors(403, "DENIED", "no")], "no access to it: 403"),
    ("too many", [faulty.status(429)], "too many requests: 429"),
    ("too many for an hour", [faulty.status(429, Retry_After="3600")], "come back in 3600 s"),
]


@pytest.mark.parametrize(("faults", "words"), [case[1:] for case in LAYER_FAULTS], ids=lambda value: "")
def test_a_layer_that_does_not_come_is_one_line(
    registry: FaultyRegistry, udocker: Puller, faults: list[Fault], words: str
) -> None:
    pattern = layer_request(image_of(registry, CONTENT))
    for fault in faults:
        registry.fail(pattern, fault)
    line = udocker.bad(f"{registry.host}/team/app:1")
    assert any(word in line for word in words.split("|")), line


MANIFEST_FAULTS: list[tuple[str, list[Fault], str]] = [
    ("a login page", [LOGIN_PAGE], "is not a manifest"),
    ("compressed unasked", [faulty.header("Content-Encoding", "gzip")], "compressed its answer"),
    ("another digest than its header's", [faulty.more(b" ")], "the registry sent sha256:"),
    ("nonsense as a digest", [faulty.header("Docker-Content-Digest", "md5:1")], "not a digest"),
    ("truncated", [faulty.cut(10)], "broke off|connection"),
    ("endless", [faulty.endless()], "longer than"),
    ("no end of chunks", [faulty.unfinished_chunks()], "in time"),
    ("slow head", [faulty.drip(0.2, head=True)], "next to nothing for 1 s"),
    ("slow body", [faulty.drip(0.2)], "next to nothing for 1 s"),
    ("reset", [faulty.reset(5)], "reset by peer"),
    ("redirects", [faulty.redirect("{path}")], "more than 10 redirects"),
    ("a burst of failures", [faulty.status(503)], "the registry failed: 503"),
    ("unknown", [faulty.errors(404, "MANIFEST_UNKNOWN")], "no such tag or digest"),
    ("no name", [faulty.errors(404, "NAME_UNKNOWN")], "no such repository"),
    ("401 without a way", [faulty.status(401)], "no access to it: 401"),
    ("401 of an odd kind", [faulty.status(401, WWW_Authenticate="Negotiate")], "unknown way of auth"),
]


@pytest.mark.parametrize(("faults", "words"), [case[1:] for case in MANIFEST_FAULTS], ids=lambda value: "")
def test_a_manifest_that_does_not_come_is_one_line(
    registry: FaultyRegistry, udocker: Puller, faults: list[Fault], words: str
) -> None:
    image_of(registry, CONTENT)
    for fault in faults:
        registry.fail(MANIFEST, fault)
    line = udocker.bad(f"{registry.host}/team/app:1")
    assert any(word in line for word in words.split("|")), line


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (faulty.status(200, b""), "holds no token"),
        (faulty.status(200, b'{"token": ""}'), "holds no token"),
        (faulty.status(200, b'{"token": 5}'), "holds no token"),
        (faulty.status(200, b'{"token": "a\\r\\nHost: b"}'), "holds no token"),
        (faulty.status(200, b'{"token": "' + b"x" * 100_000 + b'"}'), "holds no token"),
        (faulty.status(200, b"x" * (2 << 20)), "longer than 1048576 bytes"),
        (faulty.endless(), "longer than 1048576 bytes"),
        (faulty.drip(0.2), "next to nothing for 1 s"),
        (LOGIN_PAGE, "holds no token"),
        (faulty.status(503), "the registry failed: 503"),
        (faulty.redirect("{path}"), "more than 10 redirects"),
    ],
    ids=lambda value: "",
)
def test_a_token_service_that_fails_is_one_line(
    registry: FaultyRegistry, udocker: Puller, answer: Fault, words: str
) -> None:
    image_of(registry, CONTENT)
    registry.require_tokens()
    registry.fail("GET /token", answer)
    assert words in udocker.bad(f"{registry.host}/team/app:1")


def test_a_registry_that_refuses_every_token_is_given_up(registry: FaultyRegistry, udocker: Puller) -> None:
    image_of(registry, CONTENT)
    registry.require_tokens(uses=0)
    assert "no access to it: 401" in udocker.bad(f"{registry.host}/team/app:1")
    assert len(registry.asked("GET /token")) < 4


def test_schema_1_is_refused_by_its_name(registry: FaultyRegistry, udocker: Puller) -> None:
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    registry.put("team/old", "1", Blob(kind, b'{"schemaVersion": 1, "fsLayers": []}'))
    assert "schema 1: this format is no longer supported" in udocker.bad(f"{registry.host}/team/old:1")


@pytest.mark.parametrize(
    "kind",
    [
        "application/vnd.in-toto+json",
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
        "text/plain",
        "x\x1b[2J",
    ],
)
def test_a_layer_that_is_none_is_refused_before_it_is_fetched(
    registry: FaultyRegistry, udocker: Puller, kind: str
) -> None:
    builder = ImageBuilder()
    odd = builder.add(Blob(kind, b'{"a": "chart"}'))
    registry.add(builder, "team/odd", "1", builder.manifest(builder.config([]), [odd]))
    line = udocker.bad(f"{registry.host}/team/odd:1")
    assert "its media type is not one of a file system" in line
    assert line.isprintable()
    assert not registry.asked(f"GET .*/blobs/{odd.digest}")


def test_a_media_type_that_is_no_manifest_is_refused(registry: FaultyRegistry, udocker: Puller) -> None:
    registry.put("team/odd", "1", Blob("application/vnd.example+json", b'{"schemaVersion": 2, "x": 1}'))
    assert "is not a manifest" in udocker.bad(f"{registry.host}/team/odd:1")


def test_an_index_without_this_platform_names_those_it_has(registry: FaultyRegistry, udocker: Puller) -> None:
    builder = ImageBuilder()
    layer = builder.layer([])
    index = builder.index([builder.image([layer], "linux/s390x"), builder.image([layer], "linux/ppc64le")])
    registry.add(builder, "team/app", "1", index)
    image = f"{registry.host}/team/app:1"
    assert "there are: linux/ppc64le, linux/s390x" in udocker.bad(image)
    udocker.good("--platform=linux/s390x", image)


@pytest.mark.parametrize("size", [-1, 1.5, "10", None, 1 << 80])
def test_a_size_that_is_none_is_refused(registry: FaultyRegistry, udocker: Puller, size: object) -> None:
    builder = ImageBuilder()
    config = builder.config([])
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": config.digest, "size": size}
    document = {"schemaVersion": 2, "config": config.descriptor(), "layers": [layer]}
    registry.put("team/app", "1", Blob(OCI_MANIFEST, json.dumps(document).encode()))
    registry.put("team/app", config.digest, config)
    udocker.bad(f"{registry.host}/team/app:1")


@pytest.mark.parametrize("header", [{}, {"Retry_After": "0"}, {"Retry_After": "soon"}, "date"])
def test_what_passes_is_waited_for(registry: FaultyRegistry, udocker: Puller, header: object) -> None:
    image_of(registry, CONTENT)
    date = {"Retry_After": email.utils.formatdate(time.time() - 5, usegmt=True)}
    headers = header if isinstance(header, dict) else date
    udocker.settings["UDOCKER_REGISTRY_RETRIES"] = "1"
    registry.fail(MANIFEST, faulty.status(429, **headers), times=1)
    registry.fail(BLOB, faulty.status(503, **headers), times=1)
    udocker.good(f"{registry.host}/team/app:1")
    assert udocker("images").out.count("team/app:1") == 1


def test_chunks_without_an_end_after_a_whole_layer_do_no_harm(
    registry: FaultyRegistry, udocker: Puller
) -> None:
    registry.fail(layer_request(image_of(registry, CONTENT)), faulty.unfinished_chunks())
    udocker.good(f"{registry.host}/team/app:1")
