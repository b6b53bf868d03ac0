"""The path translator against the kernel: both look the same paths up in the same tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.roots import identity_options
from tests.fuzz import native
from tests.services.needs import need_command

NATIVE = Path(__file__).resolve().parents[2] / "udocker" / "native"
SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

# Few names, so that paths, links and binds meet; one is no UTF-8, one is odd to a shell.
NAMES = [b"a", b"b", b"c", b"\xff \n'"]
PARTS = [*NAMES, b"..", b".", b"link", b"view"]
parts = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6)
paths = st.builds(
    lambda start, middle, end: start + b"/".join(middle) + end,
    st.sampled_from([b"", b"/", b"//", b"/proc/self/root/", b"/proc/self/cwd/"]),
    parts,
    st.sampled_from([b"", b"", b"/", b"/.", b"//"]),
)


@dataclass(frozen=True)
class Tree:
    """Directories, files and links to make, by path below a directory, in order."""

    directories: Sequence[Sequence[bytes]]
    files: Sequence[Sequence[bytes]]
    links: Sequence[tuple[Sequence[bytes], bytes]]

    def make(self, top: Path) -> None:
        for names in self.directories:
            for depth in range(len(names)):
                self._place(top, names[: depth + 1], os.mkdir)
        for names in self.files:
            self._place(top, names, os.mknod)
        for names, target in self.links:
            self._place(top, names, partial(os.symlink, target))

    @staticmethod
    def _place(top: Path, names: Sequence[bytes], make: Callable[[bytes], None]) -> None:
        path = os.path.join(os.fsencode(top), *names)
        # A link among the parents may lead anywhere on this machine: nothing is made through one.
        if (
            os.path.isdir(os.path.dirname(path))
            and os.path.realpath(os.path.dirname(path)) == os.path.dirname(path)
            and not os.path.lexists(path)
        ):
            make(path)


plain = st.lists(st.sampled_from([*NAMES, b"link"]), min_size=1, max_size=3)
trees = st.builds(
    Tree,
    st.lists(plain, max_size=6),
    st.lists(plain, max_size=4),
    st.lists(st.tuples(plain, paths), max_size=6),
)


@pytest.fixture(scope="module")
def checker() -> Iterator[Path]:
    """The program path_check, with sanitizers."""
    compiler = need_command("gcc", "gcc")
    with tempfile.TemporaryDirectory(prefix="udocker-path-") as directory:
        program = Path(directory) / "path_check"
        sources = [NATIVE / "tests/path_check.c", *sorted((NATIVE / "path").glob("*.c"))]
        flags = ("-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", *SANITIZE)
        subprocess.run([compiler, *flags, "-o", program, *sources], check=True)
        yield program


def look_up(checker: Path, how: str, top: Path, cwd: str, queries: Sequence[tuple[bool, bytes]]) -> list[str]:
    records = b"".join((b"f" if follow else b"n") + path + b"\0" for follow, path in queries)
    binds = ["/view", str(top / "host"), "/a/view", str(top / "other"), "/proc", "/proc"]
    command = [str(checker), how, str(top / "root"), cwd, *binds]
    result = subprocess.run(command, input=records, capture_output=True, check=False, timeout=60)
    if how == "kernel" and b"unshare" in result.stderr:
        pytest.skip("needs user namespaces, or root: run `sudo make test`")
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode().splitlines()


@pytest.mark.parametrize("cwd", ["/", "/a/b", "/view/b"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    root=trees,
    host=trees,
    queries=st.lists(st.tuples(st.booleans(), paths), min_size=1, max_size=60),
)
def test_every_path_leads_where_the_kernel_leads(
    checker: Path, cwd: str, root: Tree, host: Tree, queries: list[tuple[bool, bytes]]
) -> None:
    top = Path(tempfile.mkdtemp(prefix="udocker-path-"))
    try:
        for needed in ("root/a/b", "root/a/view", "root/view", "root/proc", "host/b", "other/b"):
            (top / needed).mkdir(parents=True, exist_ok=True)
        root.make(top / "root")
        host.make(top / "host")
        by_kernel = look_up(checker, "kernel", top, cwd, queries)
        by_translator = look_up(checker, "translate", top, cwd, queries)
        wrong = [
            (query, kernel, translated)
            for query, kernel, translated in zip(queries, by_kernel, by_translator)
            if kernel != translated
        ]
        assert not wrong
        assert len(by_kernel) == len(by_translator) == len(queries)
    finally:
        shutil.rmtree(top)


@pytest.mark.parametrize("length", [4094, 4095, 4096, 5000])
def test_paths_are_as_long_as_the_kernel_allows(checker: Path, tmp_path: Path, length: int) -> None:
    for needed in ("root/a/view", "root/view", "root/proc", "host/b", "other/b"):
        (tmp_path / needed).mkdir(parents=True)
    query = [(True, b"/" + b"./" * ((length - 1) // 2) + b"a" * ((length - 1) % 2))]
    kernel = look_up(checker, "kernel", tmp_path, "/", query)
    assert look_up(checker, "translate", tmp_path, "/", query) == kernel


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_trees_binds_and_paths_are_what_they_are_to_the_kernel(seed: int) -> None:
    """The target of `make fuzz` with the same inputs each time: tests/fuzz/native/path_fuzz.c."""
    compiler = need_command("gcc", "gcc")
    with tempfile.TemporaryDirectory(prefix="udocker-fuzz-") as directory:
        program = Path(directory) / "path_random"
        native.with_random_inputs(compiler, "path", program)
        program.parent.chmod(0o755)
        result = subprocess.run(
            [program, "800", str(seed)],
            env=native.ENVIRONMENT,
            capture_output=True,
            check=False,
            timeout=300,
            **identity_options(),
        )
    if result.returncode == native.CANNOT_TRY:
        pytest.skip(f"needs user namespaces: {os.fsdecode(result.stderr).strip()}")
    assert (result.returncode, result.stdout) == (0, b"done\n"), result
