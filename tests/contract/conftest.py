"""Fixtures of the engines' contract."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import filterfalse
from pathlib import Path

import pytest

from tests.contract.roots import Stage, make_stage, remove
from udocker.engine import select, userns
from udocker.engine.base import Abilities, Engine, Support
from udocker.engine.binaries import locate
from udocker.engine.ptrace import PtraceEngine
from udocker.engine.translator import TRANSLATOR
from udocker.engine.trap import TrapEngine
from udocker.engine.userns import UsernsEngine
from udocker.model.mode import ExecutionMode


@dataclass(frozen=True)
class Variant:
    """A mode, and the calls that its launcher does without, as on an older kernel."""

    mode: ExecutionMode
    without: tuple[str, ...] = ()


VARIANTS = {
    "R1": Variant(ExecutionMode.R1),
    "R1-old-kernel": Variant(ExecutionMode.R1, ("openat2", "mount_setattr", "pivot_root")),
    "T1": Variant(ExecutionMode.T1),
    "T2": Variant(ExecutionMode.T2),
    "T2-old-kernel": Variant(ExecutionMode.T2, ("openat2",)),
    "T2-no-execmem": Variant(ExecutionMode.T2, ("execmem",)),
    "T1-no-mm-map": Variant(ExecutionMode.T1, ("prctl-mm-map",)),
    "P1": Variant(ExecutionMode.P1),
    "P1-old-kernel": Variant(ExecutionMode.P1, ("openat2", "execmem")),
    "P2": Variant(ExecutionMode.P2),
}


@pytest.fixture(scope="session")
def launchers() -> Iterator[Path]:
    """The engines' launchers, where an ordinary user can reach them although the tests may run as root."""
    directory = Path(tempfile.mkdtemp(prefix="udocker-launcher-"))
    directory.chmod(0o755)
    for program in (userns.PROGRAM, TRANSLATOR):
        shutil.copy(locate(program), directory / program)
        (directory / program).chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def launcher(launchers: Path) -> Path:
    """Engine R's alone."""
    return launchers / userns.PROGRAM


@functools.cache
def engine_of(variant: Variant, launchers: Path) -> Engine:
    if variant.mode.family == "R":
        return UsernsEngine(launchers / userns.PROGRAM, variant.without)
    made = PtraceEngine if variant.mode.family == "P" else TrapEngine
    return made(launchers / TRANSLATOR, variant.without)


@functools.cache
def support_of(variant: Variant, launchers: Path) -> Support:
    """Whether this host supports a variant: it is asked once, for what is asked starts a process."""
    return engine_of(variant, launchers).check(variant.mode)


def _has_others(name: str) -> bool:
    return select.engine_of(VARIANTS[name].mode).abilities.other_users


def _emulates(name: str) -> bool:
    return select.engine_of(VARIANTS[name].mode).abilities.emulates_users


def _has_namespaces(name: str) -> bool:
    return VARIANTS[name].mode.family == "R"


@pytest.fixture(params=VARIANTS)
def stage(request: pytest.FixtureRequest, launchers: Path) -> Iterator[Stage]:
    """A container under each mode."""
    with staged(VARIANTS[request.param], launchers) as made:
        yield made


@pytest.fixture(params=filter(_has_others, VARIANTS))
def stage_of_others(request: pytest.FixtureRequest, launchers: Path) -> Iterator[Stage]:
    """The same for those modes whose programs can be other users than the caller."""
    with staged(VARIANTS[request.param], launchers) as made:
        yield made


@pytest.fixture(params=filter(_emulates, VARIANTS))
def stage_of_emulators(request: pytest.FixtureRequest, launchers: Path) -> Iterator[Stage]:
    """The same for those that emulate users, root too."""
    with staged(VARIANTS[request.param], launchers) as made:
        yield made


@pytest.fixture(params=filterfalse(_has_namespaces, VARIANTS))
def stage_without_namespaces(request: pytest.FixtureRequest, launchers: Path) -> Iterator[Stage]:
    """The same for those modes that translate calls."""
    with staged(VARIANTS[request.param], launchers) as made:
        yield made


class _CallersOnly(TrapEngine):
    """An engine as one is that has no other users: what is planned with it is asked here."""

    @property
    def abilities(self) -> Abilities:
        return replace(super().abilities, other_users=False, emulates_users=False)


@pytest.fixture
def stage_of_callers(launchers: Path) -> Iterator[Stage]:
    """A container under an engine whose programs are the caller."""
    with staged(VARIANTS["T1"], launchers) as made:
        yield replace(made, engine=_CallersOnly(launchers / TRANSLATOR))


@contextmanager
def staged(variant: Variant, launchers: Path) -> Iterator[Stage]:
    engine, support = engine_of(variant, launchers), support_of(variant, launchers)
    if not support.available:
        pytest.skip(f"this host does not support {variant.mode.value}: {support.reason}")
    directory = Path(tempfile.mkdtemp(prefix="udocker-contract-"))
    directory.chmod(0o755)
    made = make_stage(directory, engine, variant.mode)
    engine.prepare(made.container, variant.mode)
    yield made
    remove(directory)
