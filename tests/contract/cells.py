"""Containers beside things that they must not reach, and the programs that try: tests/contract/escape."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

import pytest

from tests.contract.roots import give, identity_options, make_root, remove
from tests.services.needs import need_command

HERE = Path(__file__).resolve().parent / "escape"
FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread")
TOKEN = "what-no-container-may-see"
TIMEOUT = 300


@dataclass(frozen=True)
class Programs:
    """The attacks, a program of the host, and where the engines' launchers are."""

    attack: Path
    host: Path
    launchers: Path


def compile_programs(directory: Path, launchers: Path, compiler: Sequence[str] = ()) -> Programs:
    """Compile what runs inside, and what must not."""
    compiler = compiler or (need_command("gcc", "gcc libc6-dev"),)
    made = Programs(directory / "attack", directory / "program", launchers)
    attacks = [path for path in sorted(HERE.glob("*.c")) if path.name != "program.c"]
    subprocess.run([*compiler, *FLAGS, "-o", made.attack, *attacks], check=True)
    token = f'-DTOKEN="{TOKEN}"'
    subprocess.run([*compiler, *FLAGS, token, "-o", made.host, HERE / "program.c"], check=True)
    return made


@dataclass(frozen=True)
class Cell:
    """A container's root, what is bound into it, and the host's things beside them, all of one user."""

    programs: Programs
    command: tuple[str, ...]
    directory: Path
    binds: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def outside(self) -> Path:
        return self.directory / "outside"

    def start(self, *arguments: str) -> list[str]:
        """The command line of the attack program inside."""
        binds = [
            ("--bind", "/proc", "/proc"),
            ("--bind", "/dev", "/dev"),
            ("--bind", str(self.data), "/data"),
            ("--bind", str(self.data / "d/sub"), "/sub"),
            ("--bind", str(self.data / "last"), "/last"),
            ("--bind", str(self.directory / "one"), "/one"),
            *self.binds,
        ]
        words = [word for bind in binds for word in bind]
        return [*self.command, "--root", str(self.root), *words, "--", "/bin/attack", *arguments]

    def attack(self, kind: str, name: str, more: str = "", process: int = 0) -> str:
        """Let the container try; what it printed."""
        arguments = (kind, name, str(self.outside), str(process), more)
        result = subprocess.run(
            self.start(*arguments),
            cwd="/",
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=TIMEOUT,
            **identity_options(),
        )
        assert result.returncode == 0, result
        assert b"tried" in result.stdout or b"calls" in result.stdout, result
        return result.stdout.decode(errors="surrogateescape")

    def let_in(self) -> Path:
        """Copy what lies outside to the same path inside."""
        inside = self.root / str(self.outside)[1:]
        shutil.copytree(self.outside, inside, symlinks=True)
        give(self.root)
        return inside

    def keep(self, place: Path) -> Path:
        """Make a directory for escape/readonly.c."""
        (place / "directory").mkdir(parents=True)
        (place / "file").write_text("kept")
        os.setxattr(place / "file", "user.mark", b"x")
        give(place)
        return place

    @contextmanager
    def host_process(self, directory: Optional[Path] = None) -> Iterator[int]:
        """A process of the same user outside: escape/victim.c."""
        place = directory or self.outside
        command = [place / "victim", "victim", "-", place, "0", self.data / "given"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, **pipes, **identity_options()) as process:  # type: ignore[call-overload]
            yield int(process.stdout.readline())
            process.stdin.close()


def state(top: Path) -> dict[str, Sequence[object]]:
    """All that can be changed of a tree without being read."""
    return {str(path.relative_to(top)): _entry(path) for path in sorted([top, *top.rglob("*")])}


def _entry(path: Path) -> Sequence[object]:
    info = path.lstat()
    link = path.is_symlink()
    names = [] if link else os.listxattr(path)
    content = os.readlink(path) if link else path.read_bytes() if path.is_file() else b""
    changed = (info.st_mtime_ns, info.st_ctime_ns)
    return (info.st_ino, info.st_mode, info.st_uid, info.st_gid, info.st_nlink, changed, names, content)


def make_cell(programs: Programs, command: tuple[str, ...]) -> Cell:
    """A cell below a directory that `remove_cell` takes away."""
    directory = Path(tempfile.mkdtemp(prefix="udocker-cell-")).resolve()
    directory.chmod(0o755)
    cell = Cell(programs, command, directory)
    make_root(cell.root)
    shutil.copy(programs.attack, cell.root / "bin/attack")
    for name in ("outside/directory", "outside/sub", "data/d/sub", "data/last"):
        (directory / name).mkdir(parents=True)
    for name in ("outside/secret", "outside/sub/secret", "outside/spare"):
        (directory / name).write_text(TOKEN)
    (directory / "one").write_text("one\n")
    (cell.outside / "link").symlink_to("secret")
    (cell.data / "absolute").symlink_to(cell.outside)
    (cell.data / "relative").symlink_to("../outside")
    shutil.copy(programs.host, cell.outside / "program")
    shutil.copy(programs.attack, cell.outside / "victim")
    os.setxattr(cell.outside / "secret", "user.mark", TOKEN.encode())
    give(directory)
    return cell


def remove_cell(cell: Cell) -> None:
    remove(cell.directory)


@contextmanager
def unchanged(cell: Cell) -> Iterator[Callable[[str], None]]:
    """What lies outside is as before at the end; the function checks what a container printed."""
    before = state(cell.outside)

    def judge(printed: str) -> None:
        assert TOKEN not in printed, printed
        assert "reached" not in printed, printed

    yield judge
    assert state(cell.outside) == before


class _Handle(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint), ("kind", ctypes.c_int), ("bytes", ctypes.c_ubyte * 128))


def handle_of(path: Path) -> str:
    """The handle of a file as name_to_handle_at(2) gives it: "TYPE:BYTES", in hexadecimal."""
    library, handle, mount = ctypes.CDLL(None, use_errno=True), _Handle(128), ctypes.c_int()
    failed = library.name_to_handle_at(
        -100, os.fsencode(path), ctypes.byref(handle), ctypes.byref(mount), 0
    )  # AT_FDCWD
    if failed:
        pytest.skip(f"the file system gives no handles: {os.strerror(ctypes.get_errno())}")
    return f"{handle.kind:x}:{bytes(handle.bytes[: handle.size]).hex()}"
