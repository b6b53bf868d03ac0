"""The entry point of the program ``udocker``: begins what ``main`` goes on with."""

from __future__ import annotations

import gc


def start() -> int:
    """Run the command line; returns its exit status.

    What is imported lives until the end, so that nothing is to be found by collecting garbage meanwhile;
    ``main`` turns it on again once that is over.
    """
    gc.disable()
    from udocker.cli.main import main

    return main()
