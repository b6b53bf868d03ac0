"""One directory, two udockers: what 1.3.17 writes is used and changed by ours, and the other way round.

1.3.17 runs containers by Debian's proot, because its own engines come from the network.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.real.commands import Commands
from tests.services.base_images import PushedImage
from tests.services.needs import need_command
from tests.services.old_udocker import old_udocker
from tests.services.registry import Registry
from tests.services.waiting import wait_until

IMAGE = "test/busybox:1"
TARBALL_RELEASE = "1.2.11"


class Old:
    """udocker 1.3.17 over the same directory."""

    def __init__(self, udocker: Commands, registry: Registry) -> None:
        self._program = old_udocker()
        self._udocker = udocker
        self.registry = f"--registry={registry.url}"

    def __call__(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self._udocker.user.run([self._program, *arguments], env=self.env, **options)

    @property
    def env(self) -> dict[str, str]:
        proot = need_command("proot", "proot")
        return {"UDOCKER_DIR": str(self._udocker.store), "UDOCKER_USE_PROOT_EXECUTABLE": proot}

    def good(self, *arguments: str) -> str:
        result = self(*arguments)
        assert (result.returncode, result.stderr) == (0, ""), result
        return result.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return self._udocker.user.popen([self._program, *arguments], env=self.env, **pipes)


@pytest.fixture
def old(udocker: Commands, registry: Registry, busybox_image: PushedImage) -> Old:
    """1.3.17, made to believe that its engines are installed: it would fetch them at every command."""
    udocker.good("mkrepo", str(udocker.store))
    script = f"echo {TARBALL_RELEASE} > {udocker.store}/lib/VERSION"
    udocker.user.run(["sh", "-c", script], check=True)
    return Old(udocker, registry)


def images(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()[1:] if not line.startswith(" ")]


def test_what_udocker_13_writes_is_used_and_changed_by_ours(
    udocker: Commands, old: Old, busybox_image: PushedImage
) -> None:
    old.good("pull", old.registry, IMAGE)
    old.good("create", "--name=box", IMAGE)
    identity = os.readlink(udocker.store / "containers" / "box")
    old.good("name", identity, "second")
    old.good("protect", "box")
    assert images(udocker.good("images")) == [IMAGE]
    assert udocker.good("verify", IMAGE) == f"{IMAGE}: ok\n"
    assert udocker.good("verify", "box") == "box: ok\n"
    assert udocker.good("repair") == ""
    [line] = udocker.good("ps").splitlines()[1:]
    assert line.split() == [identity, "P", "W", "['box',", "'second']", IMAGE]
    assert udocker.good("inspect", "-p", "box") == f"{udocker.store}/containers/{identity}/ROOT\n"
    assert udocker.good("run", "box", "echo", "hi") == "hi\n"
    assert "protected" in udocker.bad("rm", "box")
    udocker.good("unprotect", "box")
    udocker.good("rename", "second", "third")
    udocker.good("rmname", "third")
    udocker.good("clone", "--name=copy", "box")
    assert udocker.good("run", "copy", "echo", "hi") == "hi\n"
    archive = udocker.store.parent / "image.tar"
    udocker.good("save", "-o", str(archive), IMAGE)
    assert udocker.good("run", "--rm", IMAGE, "echo", "hi") == "hi\n"
    udocker.good("rm", "box", "copy")
    udocker.good("rmi", IMAGE)
    assert old.good("images") == "REPOSITORY\n"
    assert len(old.good("ps").splitlines()) == 1
    old.good("load", "-i", str(archive))
    assert udocker.good("run", "--rm", IMAGE, "echo", "hi") == "hi\n"


def test_what_ours_writes_is_used_and_changed_by_udocker_13(
    udocker: Commands, old: Old, busybox_image: PushedImage
) -> None:
    udocker.good("pull", busybox_image.reference)
    udocker.good("tag", busybox_image.reference, IMAGE)
    udocker.good("rmi", busybox_image.reference)
    identity = udocker.good("create", "--name=box", IMAGE).strip()
    udocker.good("protect", "box")
    assert images(old.good("images")) == [IMAGE]
    assert "image Ok" in old.good("verify", IMAGE)
    [line] = old.good("ps").splitlines()[1:]
    assert line.split() == [identity, "P", "W", "['box']", IMAGE]
    assert old.good("inspect", "-p", "box").strip().endswith(f"{identity}/ROOT")
    assert old("rm", "box").returncode == 1
    old.good("unprotect", "box")
    old.good("rename", "box", "other")
    old.good("name", identity, "third")
    old.good("rmname", "third")
    old.good("clone", "--name=copy", "other")
    assert udocker.good("run", "copy", "echo", "hi") == "hi\n"
    ran = old("run", "--nobanner", "other", "sh", "-c", "echo by the other; echo text > /tmp/theirs; exit 3")
    assert (ran.returncode, ran.stdout.splitlines()[-1:]) == (3, ["by the other"]), ran
    assert udocker.good("run", "other", "cat", "/tmp/theirs") == "text\n"
    old.good("create", "--name=theirs", IMAGE)
    assert udocker.good("run", "theirs", "echo", "hi") == "hi\n"
    archive = udocker.store.parent / "image.tar"
    old.good("save", "-o", str(archive), IMAGE)
    for name in ("other", "copy", "theirs"):
        old.good("rm", name)
    old.good("rmi", IMAGE)
    assert udocker.good("repair") == ""
    assert (udocker.good("images"), list((udocker.store / "layers").iterdir())) == ("REPOSITORY\n", [])
    udocker.good("load", "-i", str(archive))
    assert "image Ok" in old.good("verify", IMAGE)


def test_images_that_udocker_13_loaded_and_imported_are_used_by_ours(
    udocker: Commands, old: Old, busybox_image: PushedImage
) -> None:
    archive, tree = udocker.store.parent / "image.tar", udocker.store.parent / "tree.tar"
    udocker.good("pull", busybox_image.reference)
    udocker.good("tag", busybox_image.reference, IMAGE)
    udocker.good("save", "-o", str(archive), IMAGE)
    udocker.good("create", "--name=box", IMAGE)
    udocker.good("export", "-o", str(tree), "box")
    udocker.good("rm", "box")
    udocker.good("rmi", IMAGE, busybox_image.reference)
    old.good("load", "-i", str(archive))
    old.good("import", str(tree), "made/tree:1")
    assert images(udocker.good("images", "-l")) == ["made/tree:1", IMAGE]
    assert udocker.good("repair") == ""
    again = udocker.store.parent / "again.tar"
    for image in (IMAGE, "made/tree:1"):
        assert udocker.good("verify", image) == f"{image}: ok\n"
        assert udocker.good("run", "--rm", image, "/bin/echo", "hi") == "hi\n"
        assert '"digest"' in udocker.good("inspect", image)
        udocker.good("protect", image)
        assert "protected" in udocker.bad("rmi", image)
        udocker.good("unprotect", image)
        udocker.good("tag", image, "tagged:1")
        udocker.good("save", "-o", str(again), image)
        again.unlink()
        udocker.good("rmi", image)
        assert udocker.good("verify", "tagged:1") == "tagged:1: ok\n"
        udocker.good("rmi", "tagged:1")
    assert list((udocker.store / "layers").iterdir()) == []
    assert list((udocker.store / "repos").iterdir()) == []


def test_what_a_crash_of_udocker_13_left_is_told_and_mended(
    udocker: Commands, old: Old, debian_image: PushedImage
) -> None:
    image = "/".join(debian_image.reference.split("/")[1:])
    kill_when(old.start("pull", old.registry, image), lambda: has_file(udocker.store / "layers"))
    result = udocker("repair", "--all")
    assert result.returncode == 125
    assert f"udocker pull {image}" in result.stdout.splitlines()[-1]
    old.good("pull", old.registry, image)
    assert udocker("repair", "--all").returncode == 0
    kill_when(old.start("create", "--name=box", image), lambda: has_file(udocker.store / "containers"))
    assert "left: container" in udocker("repair", "--all").stdout
    [identity] = [path.name for path in (udocker.store / "containers").iterdir()]
    udocker.good("rm", identity)
    assert udocker.good("repair") == ""
    udocker.good("create", "--name=box", image)
    assert udocker.good("run", "box", "echo", "hi") == "hi\n"


def has_file(directory: Path) -> bool:
    return any(path.is_file() for path in directory.glob("*/ROOT/**/*")) or any(
        path.is_file() for path in directory.iterdir()
    )


def kill_when(process: subprocess.Popen[str], condition: Any) -> None:
    try:
        wait_until(condition, "the first file", every=0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
