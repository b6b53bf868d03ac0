"""A Debian without a disk, which qemu boots on any kernel: this checkout and its tests are in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.contract import images
from tests.services.base_roots import MIRRORS, debian_root, run
from tests.services.needs import need_command
from tests.services.sharing import cache_directory, exclusive

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
SUITE = "bookworm"  # of the machine, whatever its kernel's
COMPILERS = ("gcc", "libc6-dev", "gcc-multilib", "libc6-dev-i386")
PACKAGES = (*COMPILERS, "busybox-static", "procps", "kmod", "e2fsprogs", "util-linux", "mmdebstrap")
SOURCES = ("udocker", "batch", "templates", "tests", "setup.py", "pyproject.toml")
# Tools of the developer's that no test imports, and hundreds of megabytes.
LEFT_OUT = ("mypy*", "*mypyc*", "ruff*", "ziglang*", "pip*", "setuptools*", "__editable__*", "__pycache__")
MODULES = (
    "fs/ext4",
    "fs/jbd2",
    "fs/mbcache.ko*",
    "lib",
    "crypto",
    "arch/x86/crypto",
    "drivers/block/loop.ko*",
)
MEMORY = "4G"


@dataclass(frozen=True)
class Kernel:
    """A release's kernel, and the modules that the machine needs of it."""

    image: Path
    modules: Path


def kernel_of(suite: str) -> Kernel:
    """Debian ``suite``'s kernel for virtual machines; kept, for a release's changes little."""
    need_command("mmdebstrap", "mmdebstrap")
    directory = cache_directory() / "kernels" / suite
    with exclusive(f"kernel-{suite}"):
        if not (directory / "vmlinuz").exists():
            shutil.rmtree(directory, ignore_errors=True)
            scratch = directory / "scratch"
            scratch.mkdir(parents=True)
            _extract(suite, scratch / "root")
            _keep(scratch / "root", directory)
            shutil.rmtree(scratch)
    return Kernel(directory / "vmlinuz", directory / "root")


def _extract(suite: str, root: Path) -> None:
    packages = "--include=linux-image-cloud-amd64"
    run(["mmdebstrap", "--quiet", "--variant=extract", packages, suite, root, MIRRORS[0]], root.parent)


def _keep(root: Path, directory: Path) -> None:
    (modules,) = [*root.glob("lib/modules/*"), *root.glob("usr/lib/modules/*")]
    target = directory / "root/usr/lib/modules" / modules.name
    for pattern in MODULES:
        for found in (modules / "kernel").glob(pattern):
            place = target / "kernel" / found.relative_to(modules / "kernel")
            place.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if found.is_dir() else shutil.copy)(found, place)
    for name in ("modules.builtin", "modules.order"):
        shutil.copy(modules / name, target)
    (directory / "root/lib").symlink_to("usr/lib")
    run(["depmod", "-b", directory / "root", modules.name], directory)
    (directory / "root/lib").unlink()  # the machine has that link
    (image,) = (root / "boot").glob("vmlinuz-*")
    shutil.copy(image, directory / "vmlinuz")


@contextmanager
def machine(scratch: Path, words: Sequence[str]) -> Iterator[Path]:
    """The machine's files as an archive for the kernel; ``words`` go to pytest."""
    root = scratch / "root"
    root.mkdir()
    run(["tar", "-xf", debian_root(SUITE, PACKAGES, kind="kernels"), "-C", root], scratch)
    packages = sysconfig.get_path("purelib")
    shutil.copytree(packages, root / "packages", ignore=shutil.ignore_patterns(*LEFT_OUT))
    for name in SOURCES:
        source = CHECKOUT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, root / "checkout" / name)
    _keep_image(root)
    shutil.copy(HERE / "init", root / "init")
    (root / "words").write_text("".join(f"{word}\n" for word in words))
    archive = scratch / "machine.cpio"
    pack(root, archive)
    shutil.rmtree(root)
    yield archive
    archive.unlink()


def _keep_image(root: Path) -> None:
    """The image of 32-bit programs, where the tests look for it: the machine has no network to make it."""
    archive = images.IMAGES[images.I386].archive
    assert archive
    kept = archive().parent
    shutil.copytree(kept, root / kept.relative_to("/"))


def pack(root: Path, archive: Path) -> None:
    """An archive as the kernel takes it for its first root: cpio(1), newc."""
    need_command("cpio", "cpio")
    names = subprocess.Popen(["find", ".", "-print0"], cwd=root, stdout=subprocess.PIPE)
    with names, archive.open("wb") as file:
        command = ["cpio", "--null", "--create", "--format=newc", "--quiet"]
        subprocess.run(command, cwd=root, stdin=names.stdout, stdout=file, check=True)


def boot(kernel: Kernel, archive: Path, said: Path, seconds: int) -> str:
    """Run the machine until it switches itself off; what it told on its console, which ``said`` gets too."""
    emulator = need_command("qemu-system-x86_64", "qemu-system-x86")
    initial = said.with_suffix(".initrd")
    pack(kernel.modules, initial)
    with initial.open("ab") as file, archive.open("rb") as first:
        shutil.copyfileobj(first, file)  # archives behind each other are as one
    command = [
        emulator,
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max,smap=off",  # qemu's own lret reads a program's stack as the kernel would, which that forbids
        "-m",
        MEMORY,
        "-smp",
        str(os.cpu_count() or 1),
    ]
    command += [
        "-nographic",
        "-no-reboot",
        "-net",
        "none",
        "-kernel",
        str(kernel.image),
        "-initrd",
        str(initial),
    ]
    command += ["-append", "console=ttyS0 panic=-1 quiet rdinit=/init"]
    try:
        with said.open("wb") as file:
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, timeout=seconds, check=True)
    finally:
        initial.unlink()
    return said.read_text(errors="replace")
