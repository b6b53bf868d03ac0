"""What the tests stand on that kill udocker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.commands import Commands
from tests.services.images import Blob, ImageBuilder, Member, directory, file, symlink, whiteout
from tests.services.registry import Registry
from tests.services.sharing import session_directory
from tests.services.users import User

FILES = 150  # a layer


@pytest.fixture
def udocker(user1: User, udocker_bin: Path) -> Iterator[Commands]:
    with session_directory("store") as place:
        os.chown(place, user1.uid, user1.gid)
        yield Commands(user1, udocker_bin, place / "store")


@pytest.fixture(scope="session")
def image(registry: Registry) -> str:
    """The reference of an image whose pull and unpacking take long enough to be killed in."""
    builder, built = many_files()
    builder.push(registry.url, "faults/many", "1", built)
    return f"{registry.host}/faults/many:1"


def many_files() -> tuple[ImageBuilder, Blob]:
    builder = ImageBuilder()
    layers = [builder.layer(_members(number), compression) for number, compression in enumerate(COMPRESSIONS)]
    return builder, builder.image(layers, cmd=["/bin/app"])


COMPRESSIONS = ("gzip", "zstd", "plain")


def _members(number: int) -> list[Member]:
    small = [file(f"data/{number}/{index}", bytes([number]) * (index * 40)) for index in range(FILES)]
    big = file(f"big/{number}", os.urandom(1 << 20))
    gone = [whiteout(f"data/{number - 1}/0")] if number else []
    return [directory("data"), directory("big"), *small, big, *gone, symlink(f"link{number}", "data")]


def content_of(root: Path) -> dict[str, bytes]:
    """Every file of a container's root but those that runs bind over."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    found = {str(path.relative_to(root)): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if name not in ("etc/resolv.conf", "etc/hosts")}
