"""Skip a test whose surroundings are missing, with the reason and the remedy."""

from __future__ import annotations

import os
import shutil

import pytest


def is_root() -> bool:
    return os.geteuid() == 0


def need_root() -> None:
    if not is_root():
        pytest.skip("needs root: run `sudo make test`")


def need_command(command: str, package: str) -> str:
    """The path of ``command``, which Debian's ``package`` brings."""
    # An ordinary user's PATH often lacks the administrator's directories.
    found = shutil.which(command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"needs the Debian package {package}: apt-get install {package}")
    return found
