"""udocker 1.3.17 from PyPI in an environment of its own, for the formats that both programs share."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.installation import create_venv, kept_environment

PACKAGE = "udocker==1.3.17"
# It would look for engines on the network, which nothing here needs.
SETTINGS = {"UDOCKER_TARBALL": "/dev/null", "UDOCKER_INSTALLRETRY": "0"}


@contextmanager
def udocker13() -> Iterator[Path]:
    """Its command, as every user reaches it; a later run finds it installed."""
    digest = hashlib.sha256(f"{sys.version} {PACKAGE}".encode()).hexdigest()
    with kept_environment("udocker13", digest, lambda venv: create_venv(venv, [PACKAGE])) as venv:
        yield venv / "bin" / "udocker"
