"""Containers of real images, one for each C library, with a program in them that tries what programs do."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.contract.conftest import Variant, engine_of, support_of
from tests.contract.roots import (
    Result,
    Stage,
    caller,
    give,
    identity_options,
    make_root,
)
from tests.services.base_roots import debian_root, kernel_headers, musl_root, unpack
from tests.services.needs import need_command, need_i386
from udocker.engine.base import Engine
from udocker.model.container import Container
from udocker.model.manifest import ImageConfig, Platform
from udocker.model.mode import ExecutionMode

PROBE = Path(__file__).with_name("probe")
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")
# The image's own way to say which C library it has, and what it then says.
GNU_VERSION = "getconf GNU_LIBC_VERSION"


@dataclass(frozen=True)
class Recipe:
    """An image: its archive (None: a few static programs), the probes in it and how each is compiled."""

    archive: Optional[Callable[[], Path]]
    probes: Mapping[str, Callable[[], Sequence[str]]]
    version: tuple[str, str]


def _zig() -> Sequence[str]:
    # The host's own compiler would make programs for the host's C library and newer ones.
    return (sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-gnu.2.31")


def _gcc(*options: str) -> Sequence[str]:
    return (need_command("gcc", "gcc libc6-dev"), *options)


def _musl(*options: str) -> Sequence[str]:
    return (need_command("musl-gcc", "musl-tools"), *options)


# CPython's own tests come along in one of them: a part of them is run as well (tests/programs).
TESTSUITE = ("trixie", ("libpython3.13-testsuite",), "testsuite")


# 32-bit programs, of them a busybox without a C library of its own (test_engine_i386.py).
I386 = "glibc-2.36-i386"


def _debian(version: str, *root: Any) -> Recipe:
    return Recipe(lambda: debian_root(*root), {"dynamic": _zig}, (GNU_VERSION, f"glibc {version}\n"))


IMAGES: Mapping[str, Recipe] = {
    "glibc-2.31": _debian("2.31", "bullseye"),
    "glibc-2.36": _debian("2.36", "bookworm"),
    "glibc-2.41": _debian("2.41", *TESTSUITE),
    I386: Recipe(
        lambda: debian_root("bookworm", ("busybox-static",), "i386", "i386"),
        {"i386": need_i386, "i386-static": lambda: (*need_i386(), "-static")},
        (GNU_VERSION, "glibc 2.36\n"),
    ),
    "musl": Recipe(
        musl_root, {"dynamic": _musl}, ("/lib/ld-musl-x86_64.so.1 2>&1 | head -n 1", "musl libc (x86_64)\n")
    ),
    "static": Recipe(
        None,
        {
            "glibc": lambda: _gcc("-static"),
            "static-pie": lambda: _gcc("-static-pie"),
            "musl-static": lambda: _musl("-static"),
        },
        ("ls /lib /lib64 2>/dev/null || echo none", "none\n"),
    ),
}
PROBES = [(name, probe) for name, recipe in IMAGES.items() for probe in recipe.probes]
DEBIANS = [name for name in IMAGES if name.startswith("glibc")]


@dataclass(frozen=True)
class ImageRoot:
    """A container's directory, and one of the user beside it."""

    name: str
    home: Path
    host: Path

    def stage(self, engine: Engine, mode: ExecutionMode) -> Stage:
        """This container under an engine."""
        config = ImageConfig(document={}, platform=Platform("unknown", "unknown"))
        container = Container("0" * 36, self.home, f"{self.name}:latest", config)
        engine.prepare(container, mode)
        return Stage(container, engine, mode, self.host)


def make_image(name: str, directory: Path) -> None:
    """A container of the image ``name`` in a new directory that the ordinary user can reach."""
    recipe = IMAGES[name]
    archive = recipe.archive() if recipe.archive else None
    root, host = directory / "container/ROOT", directory / "host"
    host.mkdir()
    if archive is None:
        make_root(root)
        _more_applets(root)
    else:
        root.mkdir(parents=True)
        give(directory)
        unpack(archive, root, identity_options())
    (root / "opt").mkdir(exist_ok=True)
    for probe, compiler in recipe.probes.items():
        target = root / "opt" / probe / "image_probe"
        target.parent.mkdir()
        headers = kernel_headers(directory / f"headers-{probe}")
        options = ("-idirafter", str(headers)) if "musl" in compiler()[0] else ()
        subprocess.run([*compiler(), *FLAGS, *options, "-o", target, *PROBE.glob("*.c")], check=True)
    if archive is None:
        give(directory)
    else:
        give(root / "opt")
        give(host)


@dataclass(frozen=True)
class Images:
    """The images' containers below a directory, made when they are first wanted."""

    directory: Path

    def root(self, name: str) -> ImageRoot:
        directory, unfinished = self.directory / name, self.directory / f"{name}.new"
        if not directory.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make_image(name, unfinished)
            unfinished.rename(directory)
        return ImageRoot(name, directory / "container", directory / "host")


def _more_applets(root: Path) -> None:
    """What a Debian has as programs; the static root has links for few of its applets."""
    more = "chmod cp env find head ln mkdir mv readlink realpath rm sed seq sort stat tr wc xargs"
    for name in more.split():
        link = root / "bin" / name
        if not link.is_symlink():
            link.symlink_to("busybox")


def available(variant: Variant, launchers: Path) -> Engine:
    """The engine of a variant; skips where this host does not support it."""
    engine, support = engine_of(variant, launchers), support_of(variant, launchers)
    if not support.available:
        pytest.skip(f"this host does not support {variant.mode.value}: {support.reason}")
    return engine


def ordinary(**spec: object) -> dict[str, object]:
    """RunSpec's fields for a program that runs as the caller itself, which every engine offers."""
    uid, gid = caller()
    return {"user": f"{uid}:{gid}", **spec}


def run(stage: Stage, *command: str, **spec: object) -> Result:
    """Run ``command`` as the caller."""
    return stage.run(*command, **ordinary(**spec))


def sh(stage: Stage, script: str, **spec: object) -> str:
    """What a script of the image's own shell prints; it succeeds, and complains of nothing."""
    return stage.output("sh", "-c", script, **ordinary(**spec))


def beside(stage: Stage, name: str, content: str = "content\n") -> Path:
    """A file of the user in a directory outside the root."""
    path = stage.host / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    give(stage.host)
    return path
