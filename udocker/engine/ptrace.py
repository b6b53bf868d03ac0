"""Engine P: a tracer stops system calls that take paths; they are translated in the program's processes.

The native launcher is engine T's, with a tracer in place of a signal: it starts the tracer and becomes the
program.  It takes nothing from the program but that nobody else can trace it, and is no security boundary.
"""

from __future__ import annotations

from udocker.engine.translator import Translator
from udocker.model.mode import ExecutionMode
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from udocker.engine.translator import Asked

# Where text may not be rewritten in memory, the launcher does without.
_ASKED: Asked = {
    ExecutionMode.P1: (("--trace",), ("--patch",)),
    ExecutionMode.P2: (("--trace-all",), ()),
}


class PtraceEngine(Translator):
    """In P1 a filter of the kernel chooses the calls that stop; P2 stops at every call, and needs no filter.

    To be tried, a process of its own is traced and makes a call.
    """

    def _asked(self, mode: ExecutionMode) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return _ASKED[mode]
