"""The entry point of ``udocker-batch``: tasks and ranks begin without what its other commands need."""

from __future__ import annotations

import gc
import os
import signal
import sys


def start() -> int:
    """Run the command line; returns its exit status."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `udocker-batch usage 7 | head` ends quietly
    gc.disable()  # what is imported lives until the end
    from .onnode import ACTS
    from .onnode import main as on_node

    if len(sys.argv) == 2 and sys.argv[1] in ACTS:
        status = on_node(sys.argv[1])
        sys.stderr.flush()
        os._exit(status)  # all is written: the interpreter need not take itself apart
    gc.enable()
    from .cli import main

    return main()
