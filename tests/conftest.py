"""What the tests stand on: users, an installation, a registry, images, a cluster, each started on demand."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.services.base_images import PushedImage, busybox, debian, pushed
from tests.services.cluster import Slurm, running_slurm
from tests.services.installation import installed
from tests.services.needs import is_root
from tests.services.registry import Registry, run_registry
from tests.services.sharing import session_directory
from tests.services.sides import Handing, put_in_order
from tests.services.users import User, machine_user, oneself


def pytest_configure() -> None:
    """Take back the signals that a shell ignores for what it starts in the background, and nohup."""
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    put_in_order(items)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Optional[Handing]:
    return Handing(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def user1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """An unprivileged user; an ordinary user's own self with a temporary home."""
    if is_root():
        with machine_user("udocker-test1") as user:
            yield user
    else:
        yield oneself(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def user2() -> Iterator[User]:
    """A second unprivileged user, in the same group as the first."""
    if not is_root():
        pytest.skip("needs root to act as a second user: run `sudo make test`")
    with machine_user("udocker-test2") as user:
        yield user


@pytest.fixture(scope="session")
def udocker_bin() -> Iterator[Path]:
    """The directory of the commands udocker, udocker-batch and udocker-sbatch, as the users reach them."""
    if is_root():
        with installed() as directory:
            yield directory
    else:
        yield Path(sys.executable).parent


@pytest.fixture(scope="session")
def share() -> Iterator[Path]:
    """A directory that all users may write in and all nodes see (they don't see this machine's /tmp)."""
    with session_directory("share", mode=0o1777) as directory:
        yield directory


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry that this machine reaches."""
    with run_registry() as running:
        yield running


@pytest.fixture(scope="session")
def busybox_image(registry: Registry) -> PushedImage:
    """A tiny image in ``registry``."""
    return pushed(busybox(), registry)


@pytest.fixture(scope="session")
def debian_image(registry: Registry) -> PushedImage:
    """Debian with Python in ``registry``: layers by gzip, zstd and none, with whiteouts."""
    return pushed(debian(), registry)


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A Slurm cluster of four nodes, on which user1 and user2 have accounts."""
    with running_slurm() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def cluster_registry(slurm: Slurm) -> Iterator[Registry]:
    """A registry that the cluster's nodes reach as well."""
    with run_registry(slurm.head_address) as running:
        yield running


# With CI set everything is there to run every test: one that does not run fails the run.
NOT_RUN = ("skipped", "xfailed", "xpassed")


def _not_run(config: pytest.Config) -> list[str]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("CI"):
        return []
    return [f"{kind}: {report.nodeid}" for kind in NOT_RUN for report in reporter.stats.get(kind, [])]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _not_run(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    lines = _not_run(config)
    if lines:
        terminalreporter.section("CI: these tests did not run, which fails the run")
        for line in lines:
            terminalreporter.line(line)
