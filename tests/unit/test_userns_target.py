"""Where the launcher mounts: exactly where the container's own path leads, whatever links the image has."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.contract.roots import give, identity_options, remove, static_busybox
from udocker.engine.binaries import locate
from udocker.engine.userns import PROGRAM, UsernsEngine
from udocker.model.mode import ExecutionMode

COMPONENTS = st.sampled_from(["a", "b", "c", ".."])
RELATIVE = st.lists(COMPONENTS, min_size=1, max_size=5).map("/".join)
# HOST stands for a directory of the host, by the path that leads there from /.
TEXTS = st.one_of(RELATIVE, RELATIVE.map("/{}".format), RELATIVE.map("HOST/{}".format))
PLACES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
TREES = st.dictionaries(PLACES, st.one_of(st.sampled_from(["FILE", "DIRECTORY"]), TEXTS), max_size=7)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    support = UsernsEngine().check(ExecutionMode.R1)
    if not support.available:
        pytest.skip(f"this host does not support user namespaces: {support.reason}")
    directory = Path(tempfile.mkdtemp(prefix="udocker-target-"))
    directory.chmod(0o755)
    shutil.copy(locate(PROGRAM), directory / PROGRAM)
    (directory / PROGRAM).chmod(0o755)
    shutil.copy(static_busybox(), directory / "busybox")
    (directory / "marker").write_text("marker")
    yield directory
    remove(directory)


def build(place: Path, tree: dict[str, str]) -> None:
    """The root of ``tree``, entries that contradict each other left out, and an untouched host directory."""
    for name in ("root", "host"):
        shutil.rmtree(place / name, ignore_errors=True)
        (place / name).mkdir()
    (place / "host/a").mkdir()
    os.link(place / "busybox", place / "root/busybox")
    for path, text in sorted(tree.items(), key=lambda item: item[0].count("/")):
        name = place / "root" / path
        if any(parent.is_symlink() or parent.is_file() for parent in name.parents) or os.path.lexists(name):
            continue
        name.parent.mkdir(parents=True, exist_ok=True)
        if text == "FILE":
            name.touch()
        elif text == "DIRECTORY":
            name.mkdir()
        else:
            name.symlink_to(text.replace("HOST", str(place / "host")))
    for name in ("root", "host"):
        give(place / name)


def cat(place: Path, target: str, *options: str) -> tuple[int, bytes]:
    argv = [str(place / PROGRAM), *options, "--root", str(place / "root")]
    argv += ["--bind", str(place / "marker"), target, "--", "/busybox", "cat", target]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=60, **identity_options())
    return done.returncode, done.stdout


@pytest.mark.parametrize("options", [(), ("--without", "openat2")])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES, target=RELATIVE.map("/{}".format))
def test_bind_appears_where_the_containers_path_leads_and_never_on_the_host(
    place: Path, options: tuple[str, ...], tree: dict[str, str], target: str
) -> None:
    build(place, tree)
    status, out = cat(place, target, *options)
    event(f"status {status}")
    # Refused (a loop, a file on the way, a directory, the root), or seen by the kernel's own resolution.
    assert (status, out) in ((0, b"marker"), (125, b""))
    found = sorted(str(path.relative_to(place / "host")) for path in (place / "host").rglob("*"))
    assert found == ["a"]
