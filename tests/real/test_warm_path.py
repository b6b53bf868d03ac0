"""Who finds everything there takes no lock and writes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.real.commands import Commands
from tests.services.base_images import PushedImage
from tests.services.needs import need_command

# System calls that change a file system (the trace set %file has these, and openat), by their names.
CHANGING = re.compile(r"(rename|link|symlink|mkdir|mknod|unlink|rmdir|chmod|chown|utime|truncate|setxattr)")
WRITING = re.compile(r"O_(CREAT|WRONLY|RDWR|TRUNC)")
CALL = re.compile(r"(?:\d+ +)?(\w+)\((.*)")


def touched(udocker: Commands, trace: Path, *arguments: str) -> tuple[list[str], list[str]]:
    """What a command changes in the store, and what it asks of the directory of locks."""
    argv = ["strace", "-f", "-qq", "-e", "trace=%file", "-e", "signal=none", "-o", trace]
    env = {"UDOCKER_DIR": str(udocker.store)}
    udocker.user.run([*argv, udocker.programs / "udocker", *arguments], env=env, check=True)
    calls = [match for match in map(CALL.match, trace.read_text(errors="replace").splitlines()) if match]
    inside = [(match[1], match[2]) for match in calls if str(udocker.store) in match[2]]
    changes = [f"{call}({text}" for call, text in inside if CHANGING.match(call) or WRITING.search(text)]
    assert inside, "the trace shows nothing of the store"
    return changes, [text for _, text in inside if f"{udocker.store}/locks" in text]


@pytest.mark.parametrize("command", ["run", "pull", "images", "ps", "inspect", "verify"])
def test_a_command_that_finds_everything_there_takes_no_lock_and_writes_nothing(
    udocker: Commands, busybox_image: PushedImage, command: str
) -> None:
    need_command("strace", "strace")
    image = busybox_image.reference
    udocker.good("create", "--name=box", image)
    arguments = {
        "run": ["run", "box", "true"],
        "pull": ["pull", image],
        "inspect": ["inspect", "box"],
        "verify": ["verify", image],
    }.get(command, [command])
    assert touched(udocker, udocker.store.parent / "trace", *arguments) == ([], [])


def test_the_trace_shows_what_a_command_changes(udocker: Commands, busybox_image: PushedImage) -> None:
    need_command("strace", "strace")
    trace = udocker.store.parent / "trace"
    changes, locks = touched(udocker, trace, "create", busybox_image.reference)
    assert any("/containers/" in line and line.startswith("rename") for line in changes)
    assert locks  # the image was pulled, under its locks
