"""References, digests, manifests, configurations and mounts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.services.images import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, ImageBuilder
from udocker.errors import StoreCorrupt, UsageError
from udocker.model.digest import Digest
from udocker.model.manifest import ImageConfig, ImageIndex, Manifest, Platform, parse_manifest
from udocker.model.mount import Mount
from udocker.model.reference import ImageReference

SHA = "sha256:" + "0123456789abcdef" * 4
ALPHABET = "abcxyzABC019._-/:@[]"


@pytest.mark.parametrize(
    ("text", "registry", "repository", "selector"),
    [
        ("debian", "registry-1.docker.io", "library/debian", "latest"),
        ("debian:12", "registry-1.docker.io", "library/debian", "12"),
        ("docker.io/debian", "registry-1.docker.io", "library/debian", "latest"),
        ("team/app:v1.0-rc_1", "registry-1.docker.io", "team/app", "v1.0-rc_1"),
        ("quay.io/a/b/c", "quay.io", "a/b/c", "latest"),
        ("localhost/app", "localhost", "app", "latest"),
        ("localhost:5000/app:2", "localhost:5000", "app", "2"),
        ("[::1]:5000/app", "[::1]:5000", "app", "latest"),
        (f"debian@{SHA}", "registry-1.docker.io", "library/debian", SHA),
        (f"debian:12@{SHA}", "registry-1.docker.io", "library/debian", SHA),
        ("a__b/c--d/e.f", "registry-1.docker.io", "a__b/c--d/e.f", "latest"),
    ],
)
def test_reference_is_read_as_docker_reads_it(text, registry, repository, selector):
    reference = ImageReference.parse(text)
    assert (reference.registry, reference.repository, reference.selector) == (registry, repository, selector)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            ":",
            "@",
            "/",
            "a/",
            "/a",
            "a//b",
            "Debian",
            "a:b:c",
            "a:",
            "a@",
            "a@sha256:12",
            "../a",
            "a/../b",
        ),
        *("-a", "a-", "a___b", "a:-b", "a:" + "t" * 129, "a b", "a\n", "a:b\n", "a\x00", "a" * 256),
        *(
            "http://host/a",
            "host:port/a",
            "-host.org/a",
            "ho_st.org/a",
            f"a@{SHA}\n",
            "é",
            "a:é",
            "user@host.org/a",
        ),
    ],
)
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(UsageError) as caught:
        ImageReference.parse(text)
    assert caught.value.message.isprintable()


@given(st.text(ALPHABET, max_size=40) | st.text(max_size=40))
def test_reference_survives_being_written_and_read(text):
    try:
        reference = ImageReference.parse(text)
    except UsageError:
        return
    assert ImageReference.parse(str(reference)) == reference
    assert reference.tag or reference.digest
    assert ".." not in reference.repository.split("/")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Debian:12", "debian:12"),
        ("Docker.io/Library/Debian:Testing", "Docker.io/library/debian:Testing"),
        ("HOST:5000/A/b@sha256:" + "0" * 64, "HOST:5000/a/b@sha256:" + "0" * 64),
    ],
)
def test_capitals_in_a_name_are_answered_with_the_name_to_try(text, meant):
    with pytest.raises(UsageError, match="not a repository name") as refused:
        ImageReference.parse(text)
    assert refused.value.hint == f"names of images are in lower case: {meant}"
    assert str(ImageReference.parse(meant)) == meant


@pytest.mark.parametrize("text", ["A--b_", "De bian", "debian:1:2", "-Debian", "K\u212a!"])
def test_other_mistakes_in_a_name_are_answered_with_its_form(text):
    with pytest.raises(UsageError) as refused:
        ImageReference.parse(text)
    assert refused.value.hint.startswith("write ")


def test_pinned_reference_names_the_digest_alone():
    assert str(ImageReference.parse("quay.io/a:1").pinned(Digest.parse(SHA))) == f"quay.io/a@{SHA}"


@given(st.binary(max_size=100))
def test_digest_matches_its_data_and_survives_being_written(data):
    digest = Digest.of(data)
    assert digest.matches(data)
    assert not digest.matches(data + b"x")
    assert Digest.parse(str(digest)) == digest


@given(st.text(max_size=80) | st.from_regex(r"sha(256|512):[0-9a-fA-F]{60,70}", fullmatch=True))
def test_digest_is_read_or_refused(text):
    try:
        assert str(Digest.parse(text)) == text
    except UsageError:
        assert not (
            text.startswith("sha256:") and len(text) == 71 and set(text[7:]) <= set("0123456789abcdef")
        )


def test_platform_accepts_its_own_variant_and_any_when_it_has_none():
    arm = Platform.parse("linux/aarch64")
    assert str(arm) == "linux/arm64"
    assert arm.accepts(Platform.parse("linux/arm64/v8"))
    assert not Platform.parse("linux/arm64/v8").accepts(arm)
    assert not arm.accepts(Platform.parse("windows/arm64"))


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux//v8"])
def test_what_is_no_platform_is_refused(text):
    with pytest.raises(UsageError):
        Platform.parse(text)


@pytest.mark.parametrize("docker", [True, False])
def test_manifest_and_index_are_told_apart(docker):
    builder = ImageBuilder()
    image = builder.image([builder.layer([])], docker=docker)
    index = builder.index([image], docker=docker)
    manifest, several = parse_manifest(image.data), parse_manifest(index.data)
    assert isinstance(manifest, Manifest)
    assert str(manifest.digest) == image.digest
    assert isinstance(several, ImageIndex)
    chosen = several.choose(Platform.parse("linux/amd64"))
    assert chosen is not None
    assert str(chosen.digest) == image.digest
    assert several.choose(Platform.parse("linux/arm64")) is None
    assert several.platforms() == ["linux/amd64"]


@pytest.mark.parametrize("kind", [OCI_INDEX, f"{DOCKER_LIST}; charset=utf-8", ""])
def test_content_type_counts_where_a_document_says_nothing(kind):
    assert isinstance(parse_manifest(b'{"schemaVersion": 2, "manifests": []}', kind), ImageIndex)


def test_attestations_are_not_offered_as_platforms():
    entry = {"mediaType": OCI_MANIFEST, "digest": SHA, "size": 1}
    unknown = {**entry, "platform": {"os": "unknown", "architecture": "unknown"}}
    index = parse_manifest(json.dumps({"manifests": [unknown, entry]}).encode())
    assert isinstance(index, ImageIndex)
    assert index.platforms() == []


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"[]", b"null", b"\xff", b"{}", b"[" * 100_000, b'{"schemaVersion": 1}', b'{"manifests": 5}'),
        *(b'{"manifests": [5]}', b'{"config": 5, "layers": []}', b'{"layers": []}'),
        b'{"manifests": [{"digest": "sha256:00", "size": 1}]}',
        json.dumps({"manifests": [{"digest": SHA, "size": -1}]}).encode(),
        json.dumps({"manifests": [{"digest": SHA, "size": True}]}).encode(),
        json.dumps({"manifests": [{"digest": SHA, "size": "1"}]}).encode(),
        json.dumps({"config": {"digest": SHA, "size": 1}, "layers": {}}).encode(),
    ],
)
def test_what_is_no_manifest_is_corrupt(raw):
    with pytest.raises(StoreCorrupt):
        parse_manifest(raw)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parsers(raw):
    for parse in (parse_manifest, ImageConfig.parse):
        with pytest.raises(StoreCorrupt):
            parse(raw)
            raise StoreCorrupt("parsed after all")


def test_configuration_is_read():
    config = ImageConfig.parse(
        json.dumps(
            {
                "os": "linux",
                "architecture": "arm64",
                "config": {
                    "Entrypoint": ["/bin/app"],
                    "Cmd": "run it",
                    "Env": ["A=1=2", "B"],
                    "WorkingDir": "/w",
                    "User": "1:2",
                    "Volumes": {"/data": {}},
                },
            }
        ).encode()
    )
    assert config.entrypoint == ("/bin/app",)
    assert config.cmd == ("/bin/sh", "-c", "run it")
    assert config.env == (("A", "1=2"), ("B", ""))
    assert (config.workdir, config.user, config.volumes) == ("/w", "1:2", ("/data",))
    assert str(config.platform) == "linux/arm64"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ()),
        ("", ()),
        ([], ()),
        ([""], ("",)),
        ("/bin/app", ("/bin/app",)),
        ("run 'it all'", ("/bin/sh", "-c", "run 'it all'")),
        (["a b", "c"], ("a b", "c")),
    ],
)
def test_a_command_is_a_list_or_a_string(value, expected):
    document = json.dumps({"config": {"Cmd": value, "Entrypoint": value}}).encode()
    config = ImageConfig.parse(document)
    assert (config.cmd, config.entrypoint) == (expected, expected)


@pytest.mark.parametrize("config", [None, {}, {"Cmd": None, "Env": None, "Volumes": None, "User": None}])
def test_empty_configuration_is_allowed(config):
    assert ImageConfig.parse(json.dumps({"config": config}).encode()).cmd == ()


@pytest.mark.parametrize("config", [5, {"Cmd": 5}, {"Env": [5]}, {"User": 5}, {"Entrypoint": {"a": 1}}])
def test_configuration_of_wrong_types_is_corrupt(config):
    with pytest.raises(StoreCorrupt):
        ImageConfig.parse(json.dumps({"config": config}).encode())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a", Mount("/a", "/a")),
        ("/a:/b", Mount("/a", "/b")),
        ("/a:/b:ro", Mount("/a", "/b", True)),
        ("/a:ro", Mount("/a", "/a", True)),
        ("/a:/b:rw", Mount("/a", "/b")),
        ("/a:/b:z,ro", Mount("/a", "/b", True)),
        ("data:/b", Mount("/job/data", "/b")),
        ("./data/../x:/b/", Mount("/job/x", "/b")),
    ],
)
def test_mount_is_read(text, expected):
    assert Mount.parse(text, "/job") == expected


@pytest.mark.parametrize("text", ["", ":", ":/b", "/a:/b:/c", "/a:/b:huh", "/a\0:/b", "/a:relative"])
def test_what_is_no_mount_is_refused(text):
    with pytest.raises(UsageError):
        Mount.parse(text, "/job")


def test_a_target_that_is_no_absolute_path_is_told_as_such():
    with pytest.raises(UsageError, match="neither a path nor an option"):
        Mount.parse("/tmp:data", "/job")


@given(st.text("ab/.:", max_size=20))
def test_mount_survives_being_written_and_read(text):
    try:
        mount = Mount.parse(text, "/job")
    except UsageError:
        return
    assert Mount.parse(str(mount), "/") == mount
