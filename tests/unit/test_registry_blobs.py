"""Blobs from a registry that works, and from one that breaks off or lies."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.services import faulty_registry as faulty
from tests.services.images import Blob
from tests.unit.registry_pull import (
    BLOB,
    CONTENT,
    Pull,
    described,
    put_blob,
)
from udocker.errors import RegistryError
from udocker.model.digest import Digest


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
