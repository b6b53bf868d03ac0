"""A store of the site's under one's own: used like one's own, never written, never locked."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.real.commands import Commands
from tests.services.base_images import PushedImage
from tests.services.needs import need_root
from tests.services.sharing import session_directory
from tests.services.users import User
from udocker import api
from udocker.config import Config
from udocker.model.runspec import RunSpec


@pytest.fixture(scope="module")
def site(udocker_bin: Path, user2: User, busybox_image: PushedImage) -> Iterator[Commands]:
    """A store with an image and the container ``tool``, of another user, that nobody may write in."""
    need_root()
    with session_directory("site") as place:
        os.chown(place, user2.uid, user2.gid)
        site = Commands(user2, udocker_bin, place / "store")
        site.good("mkrepo", str(site.store))
        site.good("create", "--name=tool", busybox_image.reference)
        subprocess.run(["chown", "-hR", "root:root", site.store], check=True)
        subprocess.run(["chmod", "-R", "a-w,a+rX", site.store], check=True)
        yield site


class Layered:
    """The commands of a user whose store lies over the site's."""

    def __init__(self, udocker: Commands, site: Commands) -> None:
        self._udocker = udocker
        self._env = {"UDOCKER_LOWER": str(site.store)}
        self.store = udocker.store

    def good(self, *arguments: str) -> str:
        return self._udocker.good(*arguments, env=self._env)

    def bad(self, *arguments: str) -> str:
        return self._udocker.bad(*arguments, env=self._env)


@pytest.fixture
def over(udocker: Commands, site: Commands) -> Iterator[Layered]:
    before = snapshot(site.store)
    yield Layered(udocker, site)
    assert snapshot(site.store) == before


def snapshot(store: Path) -> dict[str, tuple[int, int, int]]:
    """Every entry with its size, and when it and its content were changed."""
    found = {}
    for path in [store, *store.rglob("*")]:
        info = path.lstat()
        found[str(path)] = (info.st_size, info.st_mtime_ns, info.st_ctime_ns)
    return found


def test_what_the_site_has_is_listed_run_inspected_and_verified(
    over: Layered, busybox_image: PushedImage
) -> None:
    reference = busybox_image.reference
    assert over.good("images").splitlines()[1:] == [f"{reference}    ."]
    [line] = over.good("ps").splitlines()[1:]
    identity, _, writable, name, image = line.split()
    assert (writable, name, image) == ("R", "['tool']", reference)
    assert over.good("run", "tool", "echo", "hi") == "hi\n"
    assert over.good("run", identity, "echo", "hi") == "hi\n"
    assert '"digest"' in over.good("inspect", reference)
    assert over.good("inspect", "-p", "tool").endswith(f"/containers/{identity}/ROOT\n")
    assert over.good("verify", reference) == f"{reference}: ok\n"
    assert over.good("verify", "tool") == "tool: ok\n"
    assert not over.store.exists()


def test_a_container_of_the_site_cannot_be_written_in(over: Layered) -> None:
    script = "touch /new || echo refused; echo x > /tmp/y || echo refused"
    assert over.good("run", "tool", "sh", "-c", script) == "refused\nrefused\n"


def test_one_creates_tags_and_clones_from_what_the_site_has_into_ones_own(
    over: Layered, busybox_image: PushedImage
) -> None:
    reference = busybox_image.reference
    own = over.good("create", "--name=mine", reference).strip()
    assert over.good("run", "mine", "sh", "-c", "touch /new && echo ok") == "ok\n"
    over.good("clone", "--name=copy", "tool")
    assert over.good("run", "copy", "sh", "-c", "touch /new && echo ok") == "ok\n"
    over.good("tag", reference, "my/own:1")
    assert over.good("run", "--rm", "my/own:1", "echo", "hi") == "hi\n"
    assert over.good("rm", own).strip() == own
    over.good("rmi", "my/own:1")
    assert list((over.store / "layers").iterdir()) == []  # the site's were used, not copied
    assert over.good("repair") == ""


def test_a_pull_takes_the_layers_that_the_site_has(
    over: Layered, udocker: Commands, busybox_image: PushedImage
) -> None:
    reference = busybox_image.reference
    over.good("pull", reference)
    assert not over.store.exists()  # nothing to do
    other = reference.rpartition("@")[0] or reference
    digest = f"{other.rpartition(':')[0]}@{busybox_image.digest}"
    over.good("pull", digest)
    assert list((over.store / "layers").iterdir()) == []
    assert over.good("verify", digest) == f"{digest}: ok\n"
    assert over.good("repair") == ""


def test_what_is_the_sites_is_not_ours_to_change(over: Layered, busybox_image: PushedImage) -> None:
    image = busybox_image.reference
    for words in (["rm", "tool"], ["rmi", image], ["tag", image, image], ["rename", "tool", "other"]):
        assert "is the site's" in over.bad(*words)
    for option in ("--execmode=R1", "--purge", "--fixperm"):
        assert "is the site's" in over.bad("setup", option, "tool")
    assert over.good("setup", "tool").startswith("execmode: ")
    assert over.good("run", "--rm", "tool", "echo", "hi") == "hi\n"  # as one that is protected
    for words in (["rmname", "tool"], ["name", "tool", "x"], ["protect", "tool"], ["unprotect", image]):
        assert "is the site's" in over.bad(*words)


def test_a_run_with_rm_keeps_what_is_the_sites(over: Layered) -> None:
    assert over.good("run", "--rm", "tool", "echo", "hi") == "hi\n"
    assert over.good("run", "tool", "echo", "still here") == "still here\n"
    assert over.good("run", "--user=newcomer", "tool", "id", "-un") == "newcomer\n"


def test_the_setup_of_what_is_the_sites_is_shown_only(over: Layered) -> None:
    assert over.good("setup", "tool") == "execmode: T2\nnvidiamode: False\n"
    for option in ("--execmode=R1", "--purge", "--fixperm", "--nvidia"):
        assert "the site's" in over.bad("setup", option, "tool")


def test_ones_own_comes_first(over: Layered, busybox_image: PushedImage) -> None:
    over.good("create", "--name=tool", busybox_image.reference)
    assert over.good("run", "tool", "sh", "-c", "touch /new && echo ok") == "ok\n"
    assert len(over.good("ps").splitlines()) == 3
    over.good("rm", "tool")
    assert over.good("run", "tool", "echo", "hi") == "hi\n"


def test_a_container_that_the_site_has_prepared_counts_for_jobs(
    udocker: Commands, over: Layered, busybox_image: PushedImage
) -> None:
    """What udocker-batch prepares in a store is found there by those who have it below their own."""
    config = Config(udocker_dir=udocker.store)
    image = f"{busybox_image.reference.rpartition(':')[0]}@{busybox_image.digest}"
    container = api.prepared_container(config, image)
    assert not api.has_container(config, container)
    with session_directory("prepared") as place:
        os.chown(place, udocker.user.uid, udocker.user.gid)
        prepared = replace(udocker, store=place / "store")
        program = [prepared.programs / "udocker-batch", "prepare", busybox_image.reference]
        prepared.user.run(program, env={"UDOCKER_DIR": str(prepared.store)}, check=True)
        over_it = replace(config, lower=(prepared.store,))
        assert api.has_container(over_it, container)
        argv, _, _ = api.plan(over_it, container, RunSpec(command=("true",)), {})
        assert str(prepared.store / "containers" / container / "ROOT") in argv
        env = {"UDOCKER_LOWER": str(prepared.store), "UDOCKER_DIR": str(udocker.store)}
        told = udocker.user.run(program, env=env, check=True).stdout
        assert container in told
        assert not (udocker.store / "containers" / container).exists()


def test_a_lower_store_of_ones_own_is_not_written_either(
    udocker: Commands, busybox_image: PushedImage
) -> None:
    lower = replace(udocker, store=udocker.store.parent / "lower")
    lower.good("create", "--name=tool", busybox_image.reference)
    before = snapshot(lower.store)
    result = udocker("run", "tool", "sh", "-c", "echo x > /etc/motd", env={"UDOCKER_LOWER": str(lower.store)})
    assert result.returncode == 1
    assert "Read-only file system" in result.stderr
    assert snapshot(lower.store) == before


def test_a_lower_store_that_is_not_there_is_told(udocker: Commands) -> None:
    result = udocker("ps", env={"UDOCKER_LOWER": "/no/such/store"})
    assert result.returncode == 0
    assert "UDOCKER_LOWER: /no/such/store: no such directory" in result.stderr
