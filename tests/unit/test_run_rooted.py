"""Files below a root that is not to be trusted."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from udocker.system.rooted import open_in_root, read_in_root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("host")
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/file").write_text("inside")
    (root / "secret").write_text("inside")
    return root


@pytest.mark.parametrize(
    "link",
    ["/secret", "../secret", "../../../../secret", "a/../../secret", "//../secret", "./a/b/../../../secret"],
)
def test_links_are_resolved_with_the_root_as_slash(root: Path, link: str) -> None:
    (root / "link").symlink_to(link)
    (root / "a/b/again").symlink_to("/link")
    for path in ("link", "/link", "/a/b/again", "a/b/../../link"):
        assert read_in_root(root, path, 100) == b"inside"


def test_dot_dot_of_the_path_itself_stays_inside(root: Path) -> None:
    assert read_in_root(root, "../../secret", 100) == b"inside"


def test_linked_directory_is_followed_inside(root: Path) -> None:
    (root / "c").symlink_to("/a")
    assert read_in_root(root, "/c/b/file", 100) == b"inside"


def test_loop_of_links_is_refused(root: Path) -> None:
    (root / "x").symlink_to("y")
    (root / "y").symlink_to("x")
    with pytest.raises(OSError) as caught:
        read_in_root(root, "x", 100)
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("none", errno.ENOENT),
        ("secret/../secret", errno.ENOTDIR),
        ("secret/x", errno.ENOTDIR),
        ("a", errno.EINVAL),
    ],
)
def test_what_cannot_be_read_is_an_os_error(root: Path, path: str, number: int) -> None:
    with pytest.raises(OSError) as caught:
        read_in_root(root, path, 100)
    assert caught.value.errno == number


def test_size_is_bounded(root: Path) -> None:
    assert read_in_root(root, "secret", 6) == b"inside"
    with pytest.raises(OSError) as caught:
        read_in_root(root, "secret", 5)
    assert caught.value.errno == errno.EFBIG


def test_fifo_does_not_block(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with pytest.raises(OSError) as caught:
        read_in_root(root, "fifo", 5)
    assert caught.value.errno == errno.EINVAL


def test_no_descriptor_is_left_open(root: Path) -> None:
    before = os.listdir("/proc/self/fd")
    os.close(open_in_root(root, "a/b/file"))
    for path in ("none/x", "a/none", "secret/x", "a/b"):
        try:
            read_in_root(root, path, 5)
        except OSError:
            pass  # each is refused; what counts is what stays open
    assert os.listdir("/proc/self/fd") == before
