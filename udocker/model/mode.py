"""Execution modes, by the names that udocker users know."""

from __future__ import annotations

from enum import Enum

from udocker.errors import UsageError

# Those with an engine, as udocker.engine.select has them.
_OFFERED = "T2, R1, T1, P1, P2"


class ExecutionMode(Enum):
    """One way to run a container: a family of engines and a variant of it.

    All names are known, whether or not this version has an engine for them (``udocker.engine.select``):
    containers of udocker 1.3 have them recorded.
    """

    P1 = "P1"
    P2 = "P2"
    F1 = "F1"
    F2 = "F2"
    F3 = "F3"
    F4 = "F4"
    R1 = "R1"
    R2 = "R2"
    R3 = "R3"
    S1 = "S1"
    T1 = "T1"
    T2 = "T2"

    @property
    def family(self) -> str:
        """The engine's letter: R for user namespaces."""
        return self.value[0]

    @classmethod
    def parse(cls, text: str) -> ExecutionMode:
        """Read a mode's name; raises UsageError with those that there are engines for."""
        try:
            return cls(text.upper())
        except ValueError:
            hint = f"one of {_OFFERED}; udocker avail tells which of them work here"
            raise UsageError(f"execution mode: {text!r}: unknown", hint) from None
