"""Which engine runs a container."""

from __future__ import annotations

import os

from udocker.engine.base import Engine
from udocker.engine.binaries import installed_directory
from udocker.errors import EngineUnavailable, UsageError
from udocker.model.mode import ExecutionMode
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Callable, Optional

    from _typeshed import StrPath

    from udocker.engine.base import Abilities, Support


def _userns() -> Engine:
    from udocker.engine.userns import UsernsEngine

    return UsernsEngine()


def _trap() -> Engine:
    from udocker.engine.trap import TrapEngine

    return TrapEngine()


def _ptrace() -> Engine:
    from udocker.engine.ptrace import PtraceEngine

    return PtraceEngine()


# Each family of execution modes and its engine, imported when a run takes it.
ENGINES: Mapping[str, Callable[[], Engine]] = {"R": _userns, "T": _trap, "P": _ptrace}

# The modes that these engines offer, the one to prefer first.  T2 emulates a root that can install packages,
# and its processes are the caller's to each other; R1's root may not give files away.  T1 is T2 for hosts
# that forbid to rewrite programs in memory.  P1 costs more for each program that starts, P2 for each call.
MODES = (ExecutionMode.T2, ExecutionMode.R1, ExecutionMode.T1, ExecutionMode.P1, ExecutionMode.P2)


def preferred_modes() -> tuple[ExecutionMode, ...]:
    """The same for this caller: of root's rights only R takes away what a container shall not have."""
    if os.geteuid() != 0:
        return MODES
    return tuple(sorted(MODES, key=lambda mode: mode.family != "R"))


def engine_of(mode: ExecutionMode, store: Optional[StrPath] = None) -> Engine:
    """The engine of a mode, with the programs that ``udocker install`` put into a store, if any."""
    engine = ENGINES[mode.family]()
    return engine.using(installed_directory(store)) if store is not None else engine


def other_tracer(proot: str, store: Optional[StrPath] = None) -> Engine:
    """Engine P by a PRoot of the user's."""
    from udocker.engine.proot import ProotEngine

    engine = ProotEngine(proot)
    return engine.using(installed_directory(store)) if store is not None else engine


def require_support(engine: Engine, mode: ExecutionMode) -> None:
    """Try a mode; raises EngineUnavailable with the reason why it does not work here."""
    support = engine.check(mode)
    if not support.available:
        raise EngineUnavailable(f"run: {support.reason}", support.hint)


def choose(mode: Optional[ExecutionMode], store: Optional[StrPath] = None) -> tuple[Engine, ExecutionMode]:
    """The engine for ``mode``, or for the first mode that this host supports where that is None.

    A mode that is asked for is taken untried: its launcher tells what this host forbids.  Raises UsageError
    for one that this version has not, EngineUnavailable with every reason met.
    """
    if mode is None:
        mode = default_mode(store)
    else:
        require_engine("run", mode)
    return engine_of(mode, store), mode


def default_mode(store: Optional[StrPath] = None) -> ExecutionMode:
    """What a container is run in where nobody chose: the first that works of those that the caller prefers.

    The answer is remembered on the host; see ``udocker.engine.probed``.  Raises EngineUnavailable.
    """
    from udocker.engine.probed import Probed

    probed = Probed.here(store)
    name = probed.read()
    mode = next((mode for mode in MODES if mode.value == name), None)
    if mode is None:
        mode = first_that_works(store)
        probed.write(mode.value)
    return mode


def first_able(able: Callable[[Abilities], bool], store: Optional[StrPath] = None) -> Optional[ExecutionMode]:
    """The first mode that works here and whose engine is able to what is asked; None where there is none."""
    engines = ((mode, engine_of(mode, store)) for mode in preferred_modes())
    fit = (mode for mode, engine in engines if able(engine.abilities) and engine.check(mode).available)
    return next(fit, None)


def first_that_works(store: Optional[StrPath] = None) -> ExecutionMode:
    """Try the modes in turn; raises EngineUnavailable with every reason met."""
    reasons = []
    for mode in preferred_modes():
        support = engine_of(mode, store).check(mode)
        if support.available:
            return mode
        reasons.append(f"{mode.value}: {why_not(support)}")
    raise EngineUnavailable(f"run: execution mode {'; '.join(reasons)}", "udocker doctor tells more")


def why_not(support: Support) -> str:
    """The reason in one line, with what can be done."""
    return support.reason + (f" ({support.hint})" if support.hint else "")


def require_engine(act: str, mode: ExecutionMode) -> None:
    """Raise UsageError where this version has no engine for ``mode``."""
    if mode not in MODES:
        offered = ", ".join(offer.value for offer in MODES)
        raise UsageError(
            f"{act}: execution mode {mode.value}: known, but this version has no engine for it",
            f"it has {offered}, and runs containers of udocker 1.3's modes in the best of these as they are",
        )
