"""kill -9 at any moment: nothing half made is visible, a repair and another try put everything right.

``make test-faults`` kills each command at 200 moments; ``make test`` at a few.  The moments are spread over
the command's whole duration, and every other one is right at a system call that changes the store.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import pytest

from tests.faults.conftest import content_of
from tests.real.commands import Commands
from tests.services.needs import need_command
from udocker.config import Config
from udocker.model.reference import ImageReference
from udocker.store.store import Store
from udocker.store.verify import verify_container, verify_image

MOMENTS = int(os.environ.get("UDOCKER_FAULT_MOMENTS", "6"))
# System calls that change the store; a question mark lets strace do without those that a machine lacks.
_CALLS = (
    "rename renameat renameat2 link linkat symlink symlinkat mkdir mkdirat unlink unlinkat rmdir "
    "chmod fchmod fchmodat fsync utimensat"
)
CHANGES = ",".join(f"?{call}" for call in _CALLS.split())
_ENTRY = re.compile(r"(?:\[pid +\d+\] )?(\w+)\(")


@dataclass(frozen=True)
class Act:
    """A command to kill: what is there before it, what undoes it, and what it leaves when it has ended."""

    command: tuple[str, ...]
    before: tuple[tuple[str, ...], ...]
    undo: tuple[str, ...]
    images: int
    containers: int
    names: frozenset[str]


ACTS = {
    "pull": Act(("pull", "IMAGE"), (), ("rmi", "IMAGE"), 1, 0, frozenset()),
    "load": Act(("load", "-i", "ARCHIVE"), (), ("rmi", "IMAGE"), 1, 0, frozenset()),
    "create": Act(
        ("create", "--name=box", "IMAGE"), (("pull", "IMAGE"),), ("rm", "box"), 1, 1, frozenset({"box"})
    ),
    "clone": Act(
        ("clone", "--name=copy", "box"),
        (("pull", "IMAGE"), ("create", "--name=box", "IMAGE")),
        ("rm", "copy"),
        1,
        2,
        frozenset({"box", "copy"}),
    ),
    "rm": Act(
        ("rm", "box"),
        (("pull", "IMAGE"), ("create", "--name=box", "IMAGE")),
        ("create", "--name=box", "IMAGE"),
        1,
        0,
        frozenset(),
    ),
}


class Site:
    """A store, the commands that change it, and what can be seen in it."""

    def __init__(self, udocker: Commands, image: str, archive: Path) -> None:
        self.udocker = udocker
        self._words = {"IMAGE": image, "ARCHIVE": str(archive)}
        self.store = Store.at(Config(udocker_dir=udocker.store))
        self.content: dict[str, bytes] = {}

    def arguments(self, command: tuple[str, ...]) -> list[str]:
        return [self._words.get(word, word) for word in command]

    def good(self, command: tuple[str, ...]) -> str:
        return self.udocker.good(*self.arguments(command))

    def assert_nothing_half_made(self) -> None:
        """What images, ps and verify show is whole, and every name leads to a whole container."""
        for name, tag, _ in self.store.images.entries():
            assert list(verify_image(self.store, ImageReference.parse(f"{name}:{tag}"))) == []
        for container_id in self.store.containers.ids():
            container = self.store.containers.find(container_id)
            assert list(verify_container(Path(container.directory))) == []
            assert content_of(Path(container.root)) == self.content

    def names(self) -> frozenset[str]:
        directory = self.store.paths.containers
        return frozenset(path.name for path in directory.iterdir() if path.is_symlink() and path.exists())

    def unnamed(self) -> list[str]:
        return [name for name in self.store.containers.ids() if not self.store.containers.names(name)]

    def inventory(self) -> dict[str, int]:
        """Every file that the store is made of, with its size, but for what containers hold."""
        paths, root = self.store.paths, self.store.paths.root
        kept = (paths.claims, paths.partial)  # the directories, not what is in them
        found = {}
        for name in ("layers", "repos", "tmp", "locks"):
            for path in (root / name).rglob("*"):
                if paths.nodes not in (path, *path.parents) and path not in kept:
                    found[str(path.relative_to(root))] = path.lstat().st_size if path.is_file() else -1
        # A name that leads nowhere counts, and so does a container; ids differ from one try to the next.
        entries = list(self.store.paths.containers.iterdir())
        found["containers"] = sum(1 for path in entries if not path.is_symlink())
        found.update({f"name {path.name}": 0 for path in entries if path.is_symlink()})
        return found


def start(site: Site, command: tuple[str, ...], prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    argv = [*prefix, site.udocker.programs / "udocker", *site.arguments(command)]
    env = {"UDOCKER_DIR": str(site.udocker.store)}
    return site.udocker.user.popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_after(site: Site, command: tuple[str, ...], seconds: float) -> None:
    """Kill the command's whole session after some seconds, if it has not ended by then."""
    with start(site, command) as process:
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def kill_at_call(site: Site, command: tuple[str, ...], call: str, number: int) -> None:
    """Kill the command as it enters a system call for the n-th time."""
    strace = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", "signal=none")
    with start(site, command, (*strace, "-e", f"inject={call}:signal=KILL:when={number}")) as process:
        process.wait(120)


def calls_of(site: Site, command: tuple[str, ...]) -> list[tuple[str, int]]:
    """The system calls of a command that change something, each with how often it has been made by then."""
    strace = ("strace", "-f", "-qq", "-e", f"trace={CHANGES}", "-e", "signal=none")
    argv = [*strace, site.udocker.programs / "udocker", *site.arguments(command)]
    result = site.udocker.user.run(argv, env={"UDOCKER_DIR": str(site.udocker.store)}, check=True)
    counts: Counter[str] = Counter()
    found = []
    for match in filter(None, map(_ENTRY.match, result.stderr.splitlines())):
        counts[match[1]] += 1
        found.append((match[1], counts[match[1]]))
    return found


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ACTS)
def test_killed_at_any_moment_it_is_repaired_and_tried_again(
    udocker: Commands, image: str, name: str
) -> None:
    need_command("strace", "strace")
    act, dice = ACTS[name], random.Random(name)
    site = set_up(udocker, image, act)
    before = site.inventory()
    calls = calls_of(site, act.command)
    site.good(act.undo)
    started = time.monotonic()
    site.good(act.command)
    seconds = time.monotonic() - started
    site.good(act.undo)
    assert site.inventory() == before
    for number in range(MOMENTS):
        share = (number + dice.random()) / MOMENTS
        if number % 2:
            call = calls[int(share * len(calls))]
            told = f"{call[0]} number {call[1]}"
            kill_at_call(site, act.command, *call)
        else:
            told = f"{share * seconds:.3f} of {seconds:.3f} s"
            kill_after(site, act.command, share * seconds)
        try:
            recover(site, act, before, repair_first=bool(number // 2 % 2))
        except AssertionError as error:
            raise AssertionError(f"{name} killed at {told}: {error}") from error


def set_up(udocker: Commands, image: str, act: Act) -> Site:
    archive = udocker.store.parent / "image.tar"
    site = Site(udocker, image, archive)
    udocker.good("pull", image)
    udocker.good("save", "-o", str(archive), image)
    identity = udocker.good("create", image).strip()
    site.content = content_of(Path(site.store.containers.find(identity).root))
    udocker.good("rm", identity)
    udocker.good("rmi", image)
    for command in act.before:
        site.good(command)
    return site


def recover(site: Site, act: Act, before: dict[str, int], repair_first: bool) -> None:
    site.assert_nothing_half_made()
    assert site.unnamed() == []
    for step in (repair, retry) if repair_first else (retry, repair):
        step(site, act)
    site.assert_nothing_half_made()
    assert len(site.store.images.entries()) == act.images
    assert (len(site.store.containers.ids()), site.names()) == (act.containers, act.names)
    site.good(act.undo)
    assert site.inventory() == before


def repair(site: Site, _: Act) -> None:
    result = site.udocker("repair")
    assert result.returncode == 0, result
    assert result.stderr == ""
    again = site.udocker("repair")
    assert (again.returncode, again.stdout) == (0, ""), again


def retry(site: Site, act: Act) -> None:
    """The same command again: it succeeds, or says in one line that the work was done before the kill."""
    result = site.udocker(*site.arguments(act.command))
    done: Optional[str] = {"create": "already taken", "clone": "already taken", "rm": "not here"}.get(
        act.command[0]
    )
    if result.returncode != 0:
        assert done, result
        assert done in result.stderr, result
