"""A 32-bit busybox under every mode: a shell and its tools, and programs of both kinds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.conftest import VARIANTS
from tests.contract.images import I386, Images, available, beside, run
from tests.contract.roots import ORDINARY, Stage, caller, static_busybox
from tests.services.needs import need_i386
from tests.services.sharing import session_directory
from udocker.model.mount import Mount

BUSYBOX = "/bin/busybox"
# Tools are busybox's own, by its name: the image has others by theirs.
PRELUDE = "set -e; umask 022; cd /tmp; busybox rm -rf work; busybox mkdir work; cd work\n"


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    """The image of 32-bit programs; it is made once, for every mode."""
    with session_directory("images") as directory:
        yield Images(directory)


@pytest.fixture(params=VARIANTS)
def narrow(request: pytest.FixtureRequest, images: Images, launchers: Path) -> Stage:
    """A container of 32-bit programs under each mode."""
    need_i386()
    variant = VARIANTS[request.param]
    return images.root(I386).stage(available(variant, launchers), variant.mode)


def sh(stage: Stage, script: str, **spec: object) -> str:
    """What busybox's own shell prints; it succeeds, and complains of nothing."""
    result = run(stage, BUSYBOX, "sh", "-c", PRELUDE + script, **spec)
    assert (result.status, result.err) == (0, b""), result
    return result.out.decode()


def test_the_busybox_is_one_of_32_bits(narrow: Stage) -> None:
    assert (narrow.root / "bin/busybox").read_bytes()[:5] == b"\x7fELF\x01"
    assert run(narrow, BUSYBOX, "true").status == 0


def test_files_are_made_read_moved_and_found(narrow: Stage) -> None:
    script = """
        busybox echo one >first; busybox cp first second; busybox mv second third
        busybox ln -s third link; busybox ln third hard; busybox cat link hard
        busybox ls; busybox readlink link; busybox stat -c %h third; busybox find . -type l
        busybox rm link; busybox test ! -e link && busybox chmod 600 third && busybox stat -c %a third
    """
    expected = "one\none\nfirst\nhard\nlink\nthird\nthird\n2\n./link\n600\n"
    assert sh(narrow, script) == expected
    assert (narrow.root / "tmp/work/third").read_text() == "one\n"


def test_pipes_and_exit_statuses_are_the_programs(narrow: Stage) -> None:
    script = """
        busybox seq 1000 | busybox grep 7 | busybox sort -r | busybox wc -l
        set +e; busybox false; echo $?; (exit 7); echo $?; busybox sh -c "exit 99"; echo $?
        busybox ls /no/such/place 2>/dev/null; echo $?; /no/such/program 2>/dev/null; echo $?
    """
    assert sh(narrow, script) == "271\n1\n7\n99\n1\n127\n"


def test_signals_reach_programs_and_their_handlers(narrow: Stage) -> None:
    script = """
        trap 'echo heard' USR1; kill -USR1 $$; set +e
        exec 2>/dev/null # the shell tells there who was killed
        busybox sleep 60 & kill $!; wait $!; echo $?
        busybox sleep 60 & waited=$!; (busybox sleep 0.3; kill -USR1 $$) & wait $waited; echo $?
        kill -KILL $waited; wait $waited; echo $?
        busybox timeout -s INT 0.2 busybox sleep 60; echo $?
    """
    assert sh(narrow, script) == "heard\n143\nheard\n138\n137\n130\n"


def test_what_is_bound_is_there_and_what_is_read_only_stays(narrow: Stage) -> None:
    kept = beside(narrow, "kept/file", "kept\n").parent
    mounts = (Mount(str(kept), "/kept", read_only=True),)
    script = "busybox cat /kept/file; set +e; (echo x >/kept/file) 2>/dev/null; echo $?; busybox ls /kept"
    assert sh(narrow, script, mounts=mounts) == "kept\n1\nfile\n"
    assert (kept / "file").read_text() == "kept\n"


def test_programs_of_64_bits_start_those_of_32_and_the_other_way(narrow: Stage) -> None:
    wide = narrow.root / "opt/busybox64"
    shutil.copy(static_busybox(), wide)
    wide.chmod(0o755)
    script = "/opt/busybox64 sh -c '/bin/busybox echo narrow; /opt/busybox64 echo wide'; /bin/ls -d /etc"
    assert sh(narrow, script) == "narrow\nwide\n/etc\n"


def test_the_caller_is_who_it_was(narrow: Stage) -> None:
    uid, gid = caller()
    assert uid == ORDINARY or uid > 0
    assert sh(narrow, "busybox id -u; busybox id -g") == f"{uid}\n{gid}\n"
