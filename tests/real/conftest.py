"""What tests of the command line stand on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.commands import Commands
from tests.real.desk import Desk, make_desk
from tests.services.base_images import PushedImage
from tests.services.registry import Registry
from tests.services.sharing import session_directory
from tests.services.users import User


@pytest.fixture
def udocker(user1: User, udocker_bin: Path) -> Iterator[Commands]:
    with session_directory("store") as directory:
        os.chown(directory, user1.uid, user1.gid)
        yield Commands(user1, udocker_bin, directory / "store")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of this test alone, seen by all nodes and users."""
    with session_directory("place", mode=0o1777) as directory:
        yield directory


@pytest.fixture
def desk(user1: User, udocker_bin: Path, place: Path, cluster_registry: Registry) -> Desk:
    return make_desk(user1, udocker_bin, place / "one", place / "one" / "store", cluster_registry)


@pytest.fixture(scope="session")
def debian_there(cluster_registry: Registry, debian_image: PushedImage) -> str:
    """The Debian image in the registry that the nodes reach."""
    return debian_image.source.push(cluster_registry)


@pytest.fixture(scope="session")
def busybox_there(cluster_registry: Registry, busybox_image: PushedImage) -> str:
    return busybox_image.source.push(cluster_registry)
