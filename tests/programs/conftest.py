"""The root that foreign programs run in, chroot as the measure of what is right, and the engines.

`make test-programs` runs everything, for which it sets UDOCKER_TEST_PROGRAMS to the file that the report goes
into; without it a small part runs, in a smaller root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.conftest import VARIANTS, launchers
from tests.contract.images import TESTSUITE, ImageRoot, available
from tests.contract.roots import give, identity_options
from tests.programs.comparison import Report
from tests.programs.runners import Chroot, Engined
from tests.services.base_images import SUITE
from tests.services.base_roots import debian_root, unpack
from tests.services.needs import need_root
from tests.services.sharing import session_directory

__all__ = ["launchers"]

REPORT = os.environ.get("UDOCKER_TEST_PROGRAMS", "")
# Their roots take compilers and an hour.
collect_ignore = [] if REPORT else ["test_ltp.py", "test_packages.py"]
# Runs CPython's tests inside.
RESULTS = Path(__file__).with_name("unittest_results.py")
MODES = ("R1", "T1", "T2", "P1")
PACKAGES = (
    *("libpython3.11-testsuite", "gcc", "libc6-dev", "make", "git", "perl", "golang-go", "nodejs"),
    *(
        "default-jdk-headless",
        "strace",
        "fakeroot",
        "procps",
        "file",
        "netbase",
        "patch",
        "autoconf",
        "automake",
        "pkg-config",
    ),
)


@pytest.fixture(scope="session")
def container() -> Iterator[ImageRoot]:
    """A Debian with the programs, unpacked as the ordinary user; only root can compare with chroot."""
    need_root()
    archive = debian_root(SUITE, PACKAGES, "programs") if REPORT else debian_root(*TESTSUITE)
    with session_directory("programs") as directory:
        made = ImageRoot("programs", directory / "container", directory / "host")
        root = made.home / "ROOT"
        root.mkdir(parents=True)
        made.host.mkdir()
        give(directory)
        unpack(archive, root, identity_options())
        (root / "tmp").chmod(0o1777)
        (root / "build").mkdir()
        shutil.copy(RESULTS, root / "build")
        shutil.copytree(RESULTS.with_name("tools"), root / "build/tools")
        for name in ("hosts", "resolv.conf"):  # which engines show as the host has them
            shutil.copy(f"/etc/{name}", root / "etc")
        yield made
        # Python's own removal stops at paths that are longer than any call takes.
        subprocess.run(["rm", "-rf", *directory.iterdir()], check=True)


@pytest.fixture(scope="session")
def chroot(container: ImageRoot) -> Chroot:
    return Chroot(container.home / "ROOT")


@pytest.fixture(params=MODES)
def engined(request: pytest.FixtureRequest, container: ImageRoot, launchers: Path) -> Engined:
    """The root under each mode."""
    variant = VARIANTS[request.param]
    return Engined(request.param, container.stage(available(variant, launchers), variant.mode))


@pytest.fixture(scope="session")
def known() -> dict[str, object]:
    """What chroot gave, by suite: it is asked once."""
    return {}


@pytest.fixture(scope="session")
def report() -> Iterator[Report]:
    """What the suites found; a file at the end, where one is wanted."""
    made = Report()
    yield made
    if REPORT:
        made.write(Path(REPORT))
