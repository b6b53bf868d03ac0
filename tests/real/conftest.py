"""What tests of the command line stand on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.commands import Commands
from tests.services.sharing import session_directory
from tests.services.users import User


@pytest.fixture
def udocker(user1: User, udocker_bin: Path) -> Iterator[Commands]:
    with session_directory("store") as directory:
        os.chown(directory, user1.uid, user1.gid)
        yield Commands(user1, udocker_bin, directory / "store")
