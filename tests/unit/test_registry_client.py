"""Pulls from a registry that works, and from one that lies, breaks off or asks for credentials."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services import faulty_registry as faulty
from tests.services.faulty_registry import FaultyRegistry
from tests.services.images import OCI_MANIFEST, Blob, ImageBuilder, directory, file
from udocker.config import Config
from udocker.errors import RegistryError
from udocker.model.digest import Digest
from udocker.model.manifest import Descriptor, Platform
from udocker.model.reference import ImageReference
from udocker.registry.client import RegistryClient

AMD64 = Platform("linux", "amd64")
BLOB = "GET .*/blobs/"
MANIFEST = "GET .*/manifests/"
CONTENT = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as service:
        yield service


class Pull:
    """A client of one image with its pauses written down instead of waited for."""

    def __init__(self, registry: FaultyRegistry, tmp_path: Path, name: str = "team/app:1", **settings: Any):
        self.pauses: list[float] = []
        self.path = tmp_path / "partial"
        values = {"registry_retries": 3, "registry_timeout": 5.0, **settings}
        config = Config(udocker_dir=tmp_path, platform=AMD64, **values)
        reference = ImageReference.parse(f"{registry.host}/{name}")
        self.client = RegistryClient(config, reference, sleep=self.pauses.append)

    def content(self, blob: Blob) -> bytes:
        self.client.blob(described(blob), self.path)
        return self.path.read_bytes()


def described(blob: Blob) -> Descriptor:
    return Descriptor.from_json(blob.descriptor(), "blob")


def put_blob(registry: FaultyRegistry, data: bytes = CONTENT) -> Blob:
    blob = Blob("application/octet-stream", data)
    registry.put("team/app", blob.digest, blob)
    return blob


def put_image(registry: FaultyRegistry, *platforms: str, **config: Any) -> tuple[ImageBuilder, Blob]:
    """An index for several platforms, a single manifest for one."""
    builder = ImageBuilder()
    layer = builder.layer([directory("etc"), file("etc/motd", b"hello\n")])
    images = [builder.image([layer], platform, **config) for platform in platforms or ("linux/amd64",)]
    image = builder.index(images) if len(images) > 1 else images[0]
    registry.add(builder, "team/app", "1", image)
    return builder, image


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


def test_blob_arrives_whole_and_progress_is_reported(registry, tmp_path):
    blob, seen = put_blob(registry), []
    pull = Pull(registry, tmp_path)
    pull.client.blob(described(blob), pull.path, seen.append)
    assert pull.path.read_bytes() == CONTENT
    assert sum(seen) == len(CONTENT)
    assert len(seen) > 1
    assert registry.asked(BLOB)[0].headers["accept-encoding"] == "identity"


def test_blob_goes_into_an_open_file_as_well(registry, tmp_path):
    blob, sink = put_blob(registry), io.BytesIO()
    Pull(registry, tmp_path).client.blob(described(blob), sink)
    assert sink.getvalue() == CONTENT


def test_blob_with_a_content_encoding_of_its_own_is_kept_as_it_is(registry, tmp_path):
    blob = put_blob(registry)
    registry.fail(BLOB, faulty.header("Content-Encoding", "gzip"))
    assert Pull(registry, tmp_path).content(blob) == CONTENT


def test_empty_blob_needs_no_request(registry, tmp_path):
    assert Pull(registry, tmp_path).content(Blob("x", b"")) == b""
    assert registry.requests == []


def test_cut_connection_is_resumed_where_it_broke(registry, tmp_path):
    blob = put_blob(registry)
    registry.fail(BLOB, faulty.cut(300_000), times=2)
    assert Pull(registry, tmp_path).content(blob) == CONTENT
    ranges = [request.headers.get("range") for request in registry.asked(BLOB)]
    assert ranges == [None, "bytes=300000-", "bytes=600000-"]


def test_partial_file_of_an_earlier_run_is_continued(registry, tmp_path):
    blob, pull = put_blob(registry), Pull(registry, tmp_path)
    pull.path.write_bytes(CONTENT[:1000])
    assert pull.content(blob) == CONTENT
    assert registry.asked(BLOB)[0].headers["range"] == "bytes=1000-"


def test_whole_file_of_an_earlier_run_needs_no_request(registry, tmp_path):
    pull = Pull(registry, tmp_path)
    pull.path.write_bytes(CONTENT)
    assert pull.content(Blob("x", CONTENT)) == CONTENT
    assert registry.requests == []


@pytest.mark.parametrize("leftover", [b"wrong" * 100, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)])
def test_wrong_leftover_is_replaced(registry, tmp_path, leftover):
    blob, pull = put_blob(registry), Pull(registry, tmp_path)
    pull.path.write_bytes(leftover)
    assert pull.content(blob) == CONTENT


def test_registry_without_ranges_makes_the_download_start_again(registry, tmp_path):
    blob = put_blob(registry)
    registry.ranges = False
    registry.fail(BLOB, faulty.cut(300_000), times=1)
    pull, seen = Pull(registry, tmp_path), []
    pull.client.blob(described(blob), pull.path, seen.append)
    assert pull.path.read_bytes() == CONTENT
    assert -300_000 in seen
    assert sum(seen) == len(CONTENT)


@pytest.mark.parametrize(
    "fault",
    [
        faulty.header("Content-Range", "bytes 0-5/6"),
        faulty.header("Content-Range", "nonsense"),
        faulty.without("Content-Range"),
        faulty.header("Content-Range", f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT) + 1}"),
        faulty.status(416),
    ],
)
def test_answers_to_a_range_that_make_no_sense_lead_to_a_start_from_zero(registry, tmp_path, fault):
    blob, pull = put_blob(registry), Pull(registry, tmp_path)
    pull.path.write_bytes(CONTENT[:1000])
    registry.fail(BLOB, fault, times=1)
    assert pull.content(blob) == CONTENT
    assert [request.headers.get("range") for request in registry.asked(BLOB)] == ["bytes=1000-", None]


def test_connection_that_never_gets_further_is_given_up(registry, tmp_path):
    blob, pull = put_blob(registry), Pull(registry, tmp_path)
    registry.fail(BLOB, faulty.cut(0))
    with pytest.raises(RegistryError) as caught:
        pull.content(blob)
    assert caught.value.temporary
    assert len(registry.asked(BLOB)) == 4
    assert len(pull.pauses) == 3


def test_progress_renews_the_tries(registry, tmp_path):
    blob = put_blob(registry, CONTENT * 6)
    registry.fail(BLOB, faulty.cut(1 << 20))
    assert Pull(registry, tmp_path).content(blob) == CONTENT * 6
    assert len(registry.asked(BLOB)) == 6


def test_content_of_another_digest_is_fetched_once_more_then_refused(registry, tmp_path):
    blob, pull = put_blob(registry), Pull(registry, tmp_path)
    registry.fail(BLOB, faulty.body(b"z" * len(CONTENT)))
    with pytest.raises(RegistryError, match=f"blob {blob.digest}: .* of digest sha256:") as caught:
        pull.content(blob)
    assert str(Digest.of(b"z" * len(CONTENT))) in caught.value.message
    assert len(registry.asked(BLOB)) == 2
    assert pull.path.read_bytes() == b""


def test_content_that_was_wrong_once_is_fetched_again(registry, tmp_path):
    blob = put_blob(registry)
    registry.fail(BLOB, faulty.body(b"z" * len(CONTENT)), times=1)
    assert Pull(registry, tmp_path).content(blob) == CONTENT


@pytest.mark.parametrize("announced", [True, False])
def test_blob_longer_than_the_manifest_says_is_cut_off(registry, tmp_path, announced):
    blob, pull, seen = put_blob(registry), Pull(registry, tmp_path), []
    quiet = [] if announced else [faulty.without("Content-Length")]
    registry.fail(BLOB, faulty.more(b"x" * 50_000_000), *quiet)
    with pytest.raises(RegistryError, match=f"more than the {len(CONTENT)} bytes"):
        pull.client.blob(described(blob), pull.path, seen.append)
    assert sum(seen) == 0
    assert pull.path.read_bytes() == b""
    assert len(registry.asked(BLOB)) == 1


def test_content_length_that_is_too_small_is_resumed(registry, tmp_path):
    blob = put_blob(registry)
    registry.fail(BLOB, faulty.content_length(1000), times=1)
    assert Pull(registry, tmp_path).content(blob) == CONTENT


def test_content_length_that_is_too_large_is_refused(registry, tmp_path):
    blob = put_blob(registry)
    registry.fail(BLOB, faulty.content_length(len(CONTENT) + 1), faulty.cut(len(CONTENT)))
    with pytest.raises(RegistryError, match="more than the"):
        Pull(registry, tmp_path).content(blob)


def test_full_disk_is_an_os_error(registry, tmp_path):
    blob = put_blob(registry)
    with (
        pytest.raises(OSError, match="No space left") as caught,
        open("/dev/full", "r+b", buffering=0) as sink,
    ):
        Pull(registry, tmp_path).client.blob(described(blob), Full(sink))
    assert not isinstance(caught.value, RegistryError)


class Full(io.BytesIO):
    """A file whose writes go to /dev/full."""

    def __init__(self, device: Any) -> None:
        super().__init__()
        self.device = device

    def write(self, data: Any) -> int:
        written: int = self.device.write(data)
        return written


def test_token_is_fetched_once_and_used_for_everything(registry, tmp_path):
    put_image(registry)
    registry.require_tokens()
    pull = Pull(registry, tmp_path)
    pull.client.fetch_image(AMD64, at=pull.client.resolve().digest)
    (asked,) = registry.asked("GET /token")
    assert "scope=repository%3Ateam%2Fapp%3Apull&" in f"{asked.path}&"
    assert "push" not in asked.path


def test_token_that_expires_in_the_middle_is_replaced(registry, tmp_path):
    builder, _ = put_image(registry)
    registry.require_tokens(uses=1)
    pull = Pull(registry, tmp_path)
    fetched = pull.client.fetch_image(AMD64)
    pull.client.blob(fetched.manifest.layers[0], pull.path)
    assert len(registry.asked("GET /token")) == 3
    assert pull.path.read_bytes() == builder.blobs[str(fetched.manifest.layers[0].digest)].data


def test_registry_that_refuses_every_token_is_not_asked_forever(registry, tmp_path):
    put_image(registry)
    registry.require_tokens(uses=0)
    with pytest.raises(RegistryError, match="no such repository, or no access to it"):
        Pull(registry, tmp_path).client.manifest("1")
    assert len(registry.asked("GET /token")) == 1
    assert len(registry.asked(MANIFEST)) == 2


def docker_config(tmp_path: Path, registry: FaultyRegistry, text: str) -> Path:
    path = tmp_path / "config.json"
    encoded = base64.b64encode(text.encode()).decode()
    path.write_text(json.dumps({"auths": {f"https://{registry.host}/v1/": {"auth": encoded}}}))
    return path


@pytest.mark.parametrize("tokens", [True, False])
def test_stored_password_opens_a_private_repository(registry, tmp_path, tokens):
    put_image(registry)
    (registry.require_tokens if tokens else registry.require_basic)("ann", "se:crèt")
    stored = docker_config(tmp_path, registry, "ann:se:crèt")
    assert Pull(registry, tmp_path, docker_config=stored).client.fetch_image(AMD64)


@pytest.mark.parametrize("tokens", [True, False])
def test_wrong_password_is_refused_by_name_and_never_shown(registry, tmp_path, tokens):
    put_image(registry)
    (registry.require_tokens if tokens else registry.require_basic)("ann", "right")
    stored = docker_config(tmp_path, registry, "ann:wrongpassword")
    with pytest.raises(RegistryError) as caught:
        client = Pull(registry, tmp_path, docker_config=stored).client
        client.resolve()
    assert caught.value.status == 401
    assert "wrongpassword" not in repr(caught.value)
    assert "login" in caught.value.hint


def test_private_repository_without_a_password_says_how_to_log_in(registry, tmp_path):
    put_image(registry)
    registry.require_basic("ann", "secret")
    with pytest.raises(RegistryError, match="a password is needed") as caught:
        Pull(registry, tmp_path).client.resolve()
    assert f"docker login {registry.host}" in caught.value.hint


def test_unsafe_token_is_refused(registry, tmp_path):
    put_image(registry)
    registry.require_tokens()
    registry.fail("GET /token", faulty.body(b'{"token": "a\\r\\nX-Evil: 1"}'))
    with pytest.raises(RegistryError, match="holds no token"):
        Pull(registry, tmp_path).client.manifest("1")


@pytest.mark.parametrize("realm", ["", "ftp://x/token", "file:///etc/passwd", "http://[bad", "http://\x1b/"])
def test_realm_that_is_no_web_address_is_refused(registry, tmp_path, realm):
    put_image(registry)
    registry.require_tokens()
    registry.fail(MANIFEST, faulty.header("WWW-Authenticate", f'Bearer realm="{realm}"'))
    with pytest.raises(RegistryError, match="its token service has no https address"):
        Pull(registry, tmp_path).client.manifest("1")
