"""Which engine runs a container."""

from __future__ import annotations

from collections.abc import Mapping

from udocker.engine.base import Engine
from udocker.engine.binaries import installed_directory
from udocker.engine.userns import UsernsEngine
from udocker.errors import EngineUnavailable, UsageError
from udocker.model.mode import ExecutionMode
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional

    from _typeshed import StrPath

# Each family of execution modes and its engine, the one to prefer first.
ENGINES: Mapping[str, Engine] = {
    "R": UsernsEngine(),
}

# The modes that these engines offer, the one to prefer first.
MODES = (ExecutionMode.R1,)

# What a container is run with where nobody chose and the host allows it.
DEFAULT_MODE = MODES[0]


def engines(store: StrPath) -> Mapping[str, Engine]:
    """The engines, with the programs that ``udocker install`` put into a store."""
    return {family: engine.using(installed_directory(store)) for family, engine in ENGINES.items()}


def choose(mode: Optional[ExecutionMode], probe: bool = True) -> tuple[Engine, ExecutionMode]:
    """The engine for ``mode``, or for the first mode that this host supports where that is None.

    Without ``probe`` a single candidate is taken untried: its launcher tells what this host forbids.
    Raises UsageError for a mode that this version has not, EngineUnavailable with every reason met.
    """
    if mode is not None:
        require_engine("run", mode)
    candidates = [mode] if mode is not None else MODES
    if len(candidates) == 1 and not probe:
        return ENGINES[candidates[0].family], candidates[0]
    reasons = []
    for candidate in candidates:
        engine = ENGINES[candidate.family]
        support = engine.check()
        if support.available:
            return engine, candidate
        hint = f" ({support.hint})" if support.hint else ""
        reasons.append(f"{candidate.value}: {support.reason}{hint}")
    raise EngineUnavailable(f"run: execution mode {'; '.join(reasons)}")


def require_engine(act: str, mode: ExecutionMode) -> None:
    """Raise UsageError where this version has no engine for ``mode``."""
    if mode not in MODES:
        offered = ", ".join(offer.value for offer in MODES)
        raise UsageError(
            f"{act}: execution mode {mode.value}: known, but this version has no engine for it",
            f"it has {offered}, and runs containers of udocker 1.3's modes in that as they are",
        )
