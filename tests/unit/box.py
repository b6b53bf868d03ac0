"""A root to unpack into, with something beside it that must never change, and hostile members."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hypothesis import strategies as st

from tests.services.images import Member, compress, directory, file, hardlink, symlink, tar_of
from udocker.store.unpack import unpack_layers


class Box:
    """A root directory with a canary beside it, and a snapshot of everything that is not the root."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "ROOT"
        self.root.mkdir()
        self.canary = path / "canary"
        self.canary.mkdir()
        (self.canary / "file").write_text("untouched")
        self._before = self.outside()

    def outside(self) -> list[tuple[str, int, bytes]]:
        """Names, modes and contents of all that lies beside the root."""
        found = []
        for parent, _, names in os.walk(self.path):
            if not Path(parent).is_relative_to(self.root):
                found.append((parent, os.lstat(parent).st_mode, b""))
                for name in names:
                    path = Path(parent, name)
                    found.append((str(path), path.lstat().st_mode, path.read_bytes()))
        return sorted(found)

    def apply(self, *layers: list[Member], compression: str = "plain") -> Path:
        """Unpack the layers; whatever happens, nothing outside may have changed."""
        paths = []
        for number, members in enumerate(layers):
            path = self.path.parent / f"layer-{number}-{compression}"
            path.write_bytes(compress(tar_of(members), compression))
            paths.append(path)
        try:
            unpack_layers(paths, self.root)
        finally:
            assert self.outside() == self._before
        return self.root


def names(root: Path) -> set[str]:
    """Every path below the root."""
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def contents(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        info = path.lstat()
        kind = stat.S_IFMT(info.st_mode)
        data = os.readlink(path) if path.is_symlink() else path.read_bytes() if stat.S_ISREG(kind) else ""
        # The times of directories that no member describes are those of the unpacking.
        found[str(path.relative_to(root))] = (info.st_mode, info.st_nlink if path.is_file() else 0, data)
    return found


PATHS = st.lists(
    st.sampled_from(["..", ".", "", "a", "b", "c", ".wh.a", ".wh.b", ".wh..wh..opq", "canary", "file"]),
    min_size=1,
    max_size=5,
).map("/".join)
MEMBERS = st.one_of(
    st.builds(lambda path: file(path or "x", b"evil"), PATHS),
    st.builds(lambda path: directory(path or "x"), PATHS),
    st.builds(lambda path, target: symlink(path or "x", target or "y"), PATHS, PATHS | st.just("/")),
    st.builds(lambda path, target: hardlink(path or "x", target or "y"), PATHS, PATHS),
)
