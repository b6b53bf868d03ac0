"""Manifests and images from a registry that works, and from one that lies."""

from __future__ import annotations

import json

import pytest

from tests.services import faulty_registry as faulty
from tests.services.faulty_registry import FaultyRegistry
from tests.services.images import OCI_MANIFEST, Blob, ImageBuilder
from tests.unit.registry_pull import (
    AMD64,
    BLOB,
    MANIFEST,
    Pull,
    put_image,
)
from udocker.errors import RegistryError


def test_image_is_fetched_with_its_configuration_and_layers(registry, tmp_path):
    builder, image = put_image(registry, entrypoint=["/bin/app"], env=["A=1"])
    pull = Pull(registry, tmp_path)
    resolved = pull.client.resolve()
    fetched = pull.client.fetch_image(AMD64, at=resolved.digest)
    assert str(resolved.digest) == str(fetched.digest) == image.digest
    assert fetched.index is None
    assert fetched.config.entrypoint == ("/bin/app",)
    assert fetched.config.env == (("A", "1"),)
    (layer,) = fetched.manifest.layers
    pull.client.blob(layer, pull.path)
    assert pull.path.read_bytes() == builder.blobs[str(layer.digest)].data


def test_resolving_costs_one_head_request_and_no_pull(registry, tmp_path):
    put_image(registry)
    Pull(registry, tmp_path).client.resolve()
    assert [request.method for request in registry.requests] == ["HEAD"]


def test_missing_digest_header_is_made_up_for_by_one_get(registry, tmp_path):
    _, image = put_image(registry)
    registry.fail(".*", faulty.without("Docker-Content-Digest"))
    pull = Pull(registry, tmp_path)
    resolved = pull.client.resolve()
    assert str(resolved.digest) == image.digest
    pull.client.fetch_image(AMD64, at=resolved.digest)
    assert len(registry.asked(MANIFEST)) == 1


def test_index_leads_to_the_platform_asked_for(registry, tmp_path):
    _, index = put_image(registry, "linux/arm64", "linux/amd64")
    fetched = Pull(registry, tmp_path).client.fetch_image(AMD64)
    assert fetched.config.platform == AMD64
    assert fetched.index is not None
    assert str(fetched.digest) == index.digest != str(fetched.manifest.digest)


@pytest.mark.parametrize("depth", [2, 3])
def test_index_inside_an_index_is_followed(registry, tmp_path, depth):
    image = put_nested(registry, depth)
    fetched = Pull(registry, tmp_path).client.fetch_image(AMD64)
    assert str(fetched.manifest.digest) == image.digest


def test_indexes_inside_indexes_are_not_followed_forever(registry, tmp_path):
    put_nested(registry, 4)
    with pytest.raises(RegistryError, match="more than 3 deep"):
        Pull(registry, tmp_path).client.fetch_image(AMD64)


def put_nested(registry: FaultyRegistry, depth: int) -> Blob:
    builder = ImageBuilder()
    image = found = builder.image([builder.layer([])], "linux/amd64")
    for _ in range(depth):
        index = builder.index([found])
        found = Blob(index.media_type, index.data, platform="linux/amd64")
    registry.add(builder, "team/app", "1", found)
    return image


def test_index_without_the_platform_names_those_it_has(registry, tmp_path):
    put_image(registry, "linux/arm64/v8", "windows/amd64")
    with pytest.raises(
        RegistryError, match="no image for linux/amd64; there are: linux/arm64/v8, windows/amd64"
    ):
        Pull(registry, tmp_path).client.fetch_image(AMD64)


def test_single_manifest_for_another_platform_is_refused_unless_not_strict(registry, tmp_path):
    put_image(registry, "linux/s390x")
    client = Pull(registry, tmp_path).client
    with pytest.raises(RegistryError, match="the image is for linux/s390x, not for linux/amd64"):
        client.fetch_image(AMD64)
    assert client.fetch_image(AMD64, strict=False).config.platform.architecture == "s390x"


def test_hostile_platform_names_reach_no_terminal_raw(registry, tmp_path):
    put_image(registry, "li\x1b[2Jnux/amd64", "linux/arm64")
    with pytest.raises(RegistryError) as caught:
        Pull(registry, tmp_path).client.fetch_image(AMD64)
    assert "\x1b" not in str(caught.value)
    assert r"li\x1b[2Jnux/amd64" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "document", "expected"),
    [
        (
            404,
            b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}',
            "no such tag or digest",
        ),
        (404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known"}]}', "no such repo"),
        (403, b'{"errors":[{"code":"DENIED","message":"go away"}]}', "no access to it: 403 go away"),
        (401, b"<html>sign in</html>", "no such repository, or no access to it"),
        (418, b"I am a teapot", "unexpected answer 418: 418 I am a teapot"),
        (404, b"[" * 60_000, "not found: 404"),
        (404, b'{"errors":[{"code":"X","message":"\\u001b]0;owned\\u0007"}]}', r"404 \\x1b\]0;owned\\x07"),
        (404, b"x" * 1_000_000, "x{300}…"),
    ],
)
def test_refusals_keep_the_registrys_words_on_one_clean_line(registry, tmp_path, code, document, expected):
    registry.fail(".*", faulty.status(code, document))
    with pytest.raises(RegistryError, match=expected) as caught:
        Pull(registry, tmp_path).client.resolve()
    assert str(caught.value).startswith(f"pull: {registry.host}/team/app:1: ")
    assert str(caught.value).isprintable()
    assert caught.value.status == code
    assert caught.value.temporary is False


def test_missing_tag_and_missing_repository_are_told_apart(registry, tmp_path):
    put_image(registry)
    with pytest.raises(RegistryError, match="no such tag"):
        Pull(registry, tmp_path, "team/app:2").client.resolve()
    with pytest.raises(RegistryError, match="no such repository"):
        Pull(registry, tmp_path, "team/other:1").client.resolve()


@pytest.mark.parametrize(
    ("raw", "kind", "expected"),
    [
        (b"<html>login</html>", "text/html", r"the registry's answer \(text/html\) is not a manifest"),
        (b"[" * 100_000, OCI_MANIFEST, "not JSON"),
        (b'{"schemaVersion": 1}', OCI_MANIFEST, "schema 1"),
        (b"{}", OCI_MANIFEST, "not a manifest"),
        (b'{"config": {"digest": "sha256:xyz", "size": 1}, "layers": []}', OCI_MANIFEST, "not a sha256"),
        (b"x" * (4 * 1024 * 1024 + 1), OCI_MANIFEST, "longer than 4194304 bytes"),
    ],
)
def test_nonsense_instead_of_a_manifest_is_named(registry, tmp_path, raw, kind, expected):
    registry.put("team/app", "1", Blob(kind, raw))
    with pytest.raises(RegistryError, match=expected) as caught:
        Pull(registry, tmp_path).client.fetch_image(AMD64)
    assert len(str(caught.value)) < 700


def test_manifest_with_another_digest_than_asked_for_is_refused(registry, tmp_path):
    _, image = put_image(registry)
    registry.put("team/app", image.digest, Blob(image.media_type, image.data + b" "))
    registry.fail(MANIFEST, faulty.without("Docker-Content-Digest"))
    with pytest.raises(RegistryError, match=f"manifest {image.digest}: the registry sent sha256:"):
        Pull(registry, tmp_path, f"team/app@{image.digest}").client.fetch_image(AMD64)


def test_body_that_is_not_the_digest_the_header_says_is_refused(registry, tmp_path):
    _, image = put_image(registry)
    registry.fail(MANIFEST, faulty.body(image.data + b" "))
    with pytest.raises(RegistryError, match="the registry sent"):
        Pull(registry, tmp_path).client.fetch_image(AMD64)


def test_manifest_that_breaks_off_is_asked_for_again(registry, tmp_path):
    _, image = put_image(registry)
    registry.fail(MANIFEST, faulty.cut(10), times=2)
    assert str(Pull(registry, tmp_path).client.manifest("1").digest) == image.digest


def test_compressed_manifest_is_refused(registry, tmp_path):
    put_image(registry)
    registry.fail(MANIFEST, faulty.header("Content-Encoding", "gzip"))
    with pytest.raises(RegistryError, match="compressed its answer"):
        Pull(registry, tmp_path).client.manifest("1")


@pytest.mark.parametrize("volumes", [5, "text", ["/data"]])
def test_configuration_of_odd_types_is_an_error_of_ours_or_none(registry, tmp_path, volumes):
    builder = ImageBuilder()
    config = builder.add(Blob("application/json", json.dumps({"config": {"Volumes": volumes}}).encode()))
    registry.add(builder, "team/app", "1", builder.manifest(config, []))
    try:
        Pull(registry, tmp_path).client.fetch_image(AMD64)
    except RegistryError as error:
        assert "not an image that can be run" in error.message


def test_huge_configuration_is_not_even_asked_for(registry, tmp_path):
    builder, config = ImageBuilder(), {"mediaType": "x", "digest": f"sha256:{'0' * 64}", "size": 1 << 40}
    document = json.dumps({"schemaVersion": 2, "config": config, "layers": []}).encode()
    registry.put("team/app", "1", builder.add(Blob(OCI_MANIFEST, document)))
    with pytest.raises(RegistryError, match="configuration is longer"):
        Pull(registry, tmp_path).client.fetch_image(AMD64)
    assert not registry.asked(BLOB)
