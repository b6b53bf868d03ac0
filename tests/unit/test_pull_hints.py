"""Where an image cannot be had, the line and its hint say what is wrong first, and what there is instead."""

from __future__ import annotations

import errno
import os

import pytest

from tests.services import faulty_registry as faulty
from tests.services.faulty_registry import FaultyRegistry
from tests.services.images import ImageBuilder, file
from tests.unit.pulling import Puller, image_of

NOBODY = "127.0.0.1:9/team/app:1"


def test_a_store_that_cannot_be_written_is_told_before_a_registry_that_is_not_there(
    udocker: Puller, monkeypatch: pytest.MonkeyPatch
) -> None:
    udocker.store.mkdir()
    assert "connection refused" in udocker("pull", NOBODY).err
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may write everywhere
    for command in (["pull"], ["create"], ["run", "--rm"]):
        outcome = udocker(*command, NOBODY)
        assert outcome.status == 125
        assert outcome.err.splitlines()[0] == f"udocker: store: {udocker.store}: {os.strerror(errno.EACCES)}"
    assert list(udocker.store.iterdir()) == []


def test_a_store_below_a_file_is_told_before_a_registry_that_is_not_there(udocker: Puller) -> None:
    udocker.store.write_text("a file")
    outcome = udocker("pull", NOBODY)
    assert outcome.err.splitlines()[0] == f"udocker: store: {udocker.store}: {os.strerror(errno.ENOTDIR)}"


def test_an_answer_of_the_registry_comes_first(
    registry: FaultyRegistry, udocker: Puller, monkeypatch: pytest.MonkeyPatch
) -> None:
    udocker.store.mkdir()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    assert "no such repository" in udocker("pull", f"{registry.host}/team/app:none").err


def other_tags(registry: FaultyRegistry, udocker: Puller, *tags: str) -> str:
    """Pull an image by each tag, and let the registry fail; the image's name."""
    for tag in tags:
        builder = ImageBuilder()
        registry.add(builder, "team/app", tag, builder.image([builder.layer([file(tag)])]))
        udocker.good(f"{registry.host}/team/app:{tag}")
    registry.fail(".*", faulty.drop())
    return f"{registry.host}/team/app"


@pytest.mark.parametrize("command", [["run"], ["run", "--pull=never"], ["create"]])
def test_what_is_here_under_another_tag_is_named(
    registry: FaultyRegistry, udocker: Puller, command: list[str]
) -> None:
    image_of(registry, b"other", name="team/other")
    udocker.good(f"{registry.host}/team/other:1")
    name = other_tags(registry, udocker, "x", "y")
    outcome = udocker(*command, f"{name}:z")
    assert outcome.status == 125
    error, hint = outcome.err.splitlines()
    assert f"here are {name}:x, {name}:y" in hint
    assert "other" not in hint


def test_many_other_tags_are_counted(registry: FaultyRegistry, udocker: Puller) -> None:
    name = other_tags(registry, udocker, *"abcdefg")
    hint = udocker("create", name).err.splitlines()[-1]
    assert hint.endswith(f"{name}:e and 2 more")


def test_nothing_is_named_where_nothing_is_here(registry: FaultyRegistry, udocker: Puller) -> None:
    registry.fail(".*", faulty.drop())
    assert "here " not in udocker("create", f"{registry.host}/team/app:z").err
