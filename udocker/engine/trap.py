"""Engine T: system calls that take paths are trapped and translated in the program's own processes.

The native launcher udocker-trap becomes the program and stays in it.  Neither namespaces nor privileges are
needed, and it is no security boundary: a program that wants out gets out.
"""

from __future__ import annotations

from udocker.engine.translator import TRANSLATOR, Translator

PROGRAM = TRANSLATOR


class TrapEngine(Translator):
    """Runs near native speed; T2 traps each call site once and rewrites it then, T1 traps every time.

    To be tried, a process of its own is trapped; for T2 its text is rewritten in memory.
    """
