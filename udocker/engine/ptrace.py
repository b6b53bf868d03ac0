"""Engine P: a tracer stops system calls that take paths; they are translated in the program's processes.

The native launcher is engine T's, with a tracer in place of a signal: it starts the tracer and becomes the
program.  It takes nothing from the program but that nobody else can trace it, and is no security boundary.
"""

from __future__ import annotations

from udocker.engine.translator import Translator


class PtraceEngine(Translator):
    """In P1 a filter of the kernel chooses the calls that stop; P2 stops at every call, and needs no filter.

    To be tried, a process of its own is traced and makes a call.
    """
