"""Containers that the user cannot write, as a site's are: what is bound where they have nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contract.roots import Stage, caller, host_facts
from tests.services.needs import need_root
from udocker.model.mount import Mount


@pytest.fixture(params=["somebody else's", "read-only"])
def shared(stage_without_namespaces: Stage, request: pytest.FixtureRequest) -> Stage:
    """A container without mount points, which the run cannot make."""
    for applet in ("find", "mkdir", "readlink", "stat", "wc"):
        (stage_without_namespaces.root / "bin" / applet).symlink_to("busybox")
    if request.param == "somebody else's":
        need_root()
        root = stage_without_namespaces.root
        for path in (root, *root.rglob("*")):
            os.chown(path, 0, 0, follow_symlinks=False)
        root.chmod(0o755)
    return stage_without_namespaces


@pytest.fixture
def spec(shared: Stage, request: pytest.FixtureRequest) -> dict[str, bool]:
    return {"read_only": "read-only" in request.node.name}


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_what_every_container_shows_of_its_host_is_there_and_listed(
    shared: Stage, spec: dict[str, bool]
) -> None:
    before = names(shared.root)
    made = shared.output("sh", "-c", "cat /proc/self/comm; ls /; ls /etc; head -c0 /dev/null", **spec)
    system = {path.split("/")[-1] for path in host_facts().paths}
    assert made.startswith("cat\n")
    assert sorted(made.split()[1:]) == sorted({"bin", "etc", "tmp", "passwd", "group"} | system)
    assert names(shared.root) == before


def test_a_place_on_a_way_that_is_missing_is_there_and_listed(shared: Stage, spec: dict[str, bool]) -> None:
    data = shared.host / "data"
    data.mkdir(mode=0o777)
    data.chmod(0o777)
    (data / "one").write_text("one\n")
    mounts = (Mount(str(data), "/a/new/place"), Mount(str(data / "one"), "/a/other/file"))
    script = """
        cat /a/new/place/one /a/other/file; cd /a; pwd; ls; cd new/place; pwd; cd ..; ls -d *; ls /a/other
        find /a | wc -l; echo two > /a/new/place/two; cd /; cat a/new/place/two; stat -c %F /a /a/other/file
        sh -c 'ls a'; mkdir /a/x
    """
    result = shared.run("sh", "-c", script, mounts=mounts, **spec)
    assert result.out.decode().splitlines() == [
        *("one", "one", "/a", "new", "other", "/a/new/place", "place", "file"),
        *("6", "two", "directory", "regular file", "new", "other"),
    ]
    assert result.err == b"mkdir: can't create directory '/a/x': Read-only file system\n"
    assert (data / "two").read_text() == "two\n"


def test_many_names_are_each_listed_once(shared: Stage, spec: dict[str, bool]) -> None:
    data = shared.host / "data"
    data.mkdir()
    for number in range(2000):
        (data / f"a-name-of-some-length-{number}").touch()
    mounts = (
        Mount(str(data), "/many"),
        *(Mount(str(shared.host), f"/many-{number}") for number in range(20)),
    )
    made = shared.output(
        "sh", "-c", "ls /many | wc -l; ls -d /many-* | wc -l; ls / | wc -l", mounts=mounts, **spec
    )
    assert made.split() == ["2000", "20", str(3 + 3 + 21)]


def test_what_is_shown_there_stays_the_callers_to_write(shared: Stage, spec: dict[str, bool]) -> None:
    data = shared.host / "data"
    data.mkdir(mode=0o777)
    data.chmod(0o777)
    shared.output("sh", "-c", "echo x > /new/file", mounts=(Mount(str(data), "/new"),), **spec)
    assert (data / "file").read_text() == "x\n"
    assert (data / "file").stat().st_uid == caller()[0]
