"""Every command that writes, over a disk that is full, over quota, broken or stale at any moment."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest

from tests.real.bad_disks import ACTS, FAULTS, Bench, Course, try_fault
from tests.real.commands import Commands
from tests.services.faultfs import mounted
from tests.services.images import ImageBuilder, directory, file, hardlink, symlink, tar_of, whiteout
from tests.services.registry import Registry
from tests.services.sharing import session_directory
from tests.services.users import User

# At how many moments each command meets each fault: all of them take hours, `make test-disks` hundreds.
MOMENTS = int(os.environ.get("UDOCKER_TEST_MOMENTS", "1"))


@pytest.fixture(scope="module")
def bench(user1: User, udocker_bin: Path, registry: Registry) -> Iterator[Bench]:
    builder = ImageBuilder()
    tree = [directory("etc"), file("etc/a", b"a" * 5000), hardlink("etc/b", "etc/a"), symlink("l", "etc/a")]
    layers = [builder.layer(tree), builder.layer([whiteout("l"), file("c", b"c")], "plain")]
    image = builder.image(layers, cmd=["/c"])
    with session_directory("disk") as top:
        for name in ("backing", "mount", "source", "template"):
            (top / name).mkdir()
            os.chown(top / name, user1.uid, user1.gid)
        builder.push(registry.url, "test/disks", "1", image)
        builder.write_layout(top / "source" / "app", image, "team/app:1")
        other = builder.image([builder.layer([file("kept", b"kept")])])
        builder.write_layout(top / "source" / "keep", other, "team/keep:1")
        for name in ("app", "keep"):
            subprocess.run(["tar", "-C", name, "-cf", f"{name}.tar", "."], cwd=top / "source", check=True)
        (top / "source" / "tree.tar").write_bytes(tar_of(tree))
        plain = Commands(user1, udocker_bin, top / "template" / "store")
        for name in ("app", "keep"):
            plain.good("load", "-i", str(top / "source" / f"{name}.tar"))
        plain.good("create", "--name=box", "team/app:1")
        plain.good("create", "--name=keep", "team/keep:1")
        with mounted(user1, top / "backing", top / "mount") as disk:
            places = {
                "DISK": str(top / "mount"),
                "SOURCE": str(top / "source"),
                "REGISTRY": f"{registry.host}/test/disks:1",
                "HOST": registry.host,
            }
            udocker = replace(plain, store=top / "mount" / "store")
            yield Bench(udocker, disk, top / "backing", top / "template", places)


@pytest.fixture(scope="module")
def course(bench: Bench) -> Callable[[str], Course]:
    """How a command goes on a good disk, tried once."""
    return functools.cache(lambda name: bench.course(ACTS[name]))


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("name", ACTS)
def test_a_command_that_meets_a_bad_disk_is_done_or_not_at_all(
    bench: Bench, course: Callable[[str], Course], name: str, kind: str
) -> None:
    good, fault = course(name), FAULTS[kind]
    total = good.count(fault)
    for first in moments(total, MOMENTS, [*FAULTS].index(kind) + [*ACTS].index(name)):
        met = try_fault(bench, ACTS[name], replace(fault, first=first), good)
        assert met or first > 0.9 * total  # a command need not ask as often each time


def moments(total: int, wanted: int, seed: int) -> list[int]:
    """So many of the operations 1 to ``total``, spread evenly; which ones depends on ``seed``."""
    if total <= wanted:
        return list(range(1, total + 1))
    step = total / wanted
    return [int(step * (number + (seed * 0.37) % 1)) + 1 for number in range(wanted)]
