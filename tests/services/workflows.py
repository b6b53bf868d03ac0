"""Workflow programs that drive udocker, from PyPI, at the versions that their tests were written for."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.installation import create_venv, kept_environment

# Toil runs tools by the very version of cwltool that it requires: one environment serves both.
PROGRAMS = {
    "cwl": ("cwltool==3.3.20260925135507", "toil[cwl]==9.6.0"),
    "miniwdl": ("miniwdl==1.16.0",),
}


@contextmanager
def workflow_programs(name: str) -> Iterator[Path]:
    """The directory of the commands of ``PROGRAMS[name]``; a later run finds them installed."""
    packages = PROGRAMS[name]
    digest = hashlib.sha256(" ".join([sys.version, *packages]).encode()).hexdigest()
    with kept_environment(f"workflow-{name}", digest, lambda venv: create_venv(venv, packages)) as venv:
        yield venv / "bin"
