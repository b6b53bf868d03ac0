"""Which engine runs a container."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from udocker.engine.base import Engine
from udocker.engine.userns import UsernsEngine
from udocker.errors import EngineUnavailable
from udocker.model.mode import ExecutionMode

# Each family of execution modes and its engine, the one to prefer first.
ENGINES: Mapping[str, Engine] = {
    "R": UsernsEngine(),
}

# What a container is run with where nobody chose and the host allows it.
DEFAULT_MODE = ExecutionMode.R1


def choose(mode: Optional[ExecutionMode]) -> tuple[Engine, ExecutionMode]:
    """The engine for ``mode``, or for the first mode that this host supports where that is None.

    Raises EngineUnavailable with every reason met.
    """
    candidates = [mode] if mode is not None else preferred()
    reasons = []
    for candidate in candidates:
        engine = ENGINES[candidate.family]
        support = engine.check()
        if support.available:
            return engine, candidate
        hint = f" ({support.hint})" if support.hint else ""
        reasons.append(f"{candidate.value}: {support.reason}{hint}")
    raise EngineUnavailable(f"run: execution mode {'; '.join(reasons)}")


def preferred() -> list[ExecutionMode]:
    """Every mode, those of the engine to prefer first."""
    order = list(ENGINES)
    return sorted(ExecutionMode, key=lambda mode: order.index(mode.family))
