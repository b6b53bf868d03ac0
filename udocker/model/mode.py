"""Execution modes, by the names that udocker users know."""

from __future__ import annotations

from enum import Enum

from udocker.errors import UsageError


class ExecutionMode(Enum):
    """One way to run a container: a family of engines and a variant of it."""

    R1 = "R1"

    @property
    def family(self) -> str:
        """The engine's letter: R for user namespaces."""
        return self.value[0]

    @classmethod
    def parse(cls, text: str) -> ExecutionMode:
        """Read a mode's name; raises UsageError with those there are."""
        try:
            return cls(text.upper())
        except ValueError:
            known = ", ".join(mode.value for mode in cls)
            raise UsageError(f"execution mode: {text!r}: unknown", f"one of {known}") from None
