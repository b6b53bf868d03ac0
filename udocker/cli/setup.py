"""``udocker setup``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Optional

from udocker.config import Config
from udocker.engine.select import require_engine
from udocker.errors import EngineError, StoreCorrupt, StoreError
from udocker.model.container import Container
from udocker.model.mode import ExecutionMode
from udocker.run.modes import changed_files, effective_mode
from udocker.store.execmode import read_mode, set_nvidia, wants_nvidia, write_mode
from udocker.store.purge import make_usable, purge
from udocker.store.store import Store

DESCRIPTION = """Change how a container is run; without options, tell how it is.

The mode is recorded where udocker 1.3 records it, and each program reads the other's."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    add = parser.add_argument
    add("--execmode", default="", metavar="MODE", help="run it in this execution mode, as R1, T2 or P1")
    add("--force", action="store_true", help="record it even so")
    add("--nvidia", action="store_true", help="show the driver of the host that runs it, for GPUs")
    add("--purge", action="store_true", help="remove what udocker 1.3 left in its files for mounts")
    add("--fixperm", action="store_true", help="make all of its files readable and writable for you")
    add("container", metavar="CONTAINER")


def run(config: Config, options: argparse.Namespace) -> int:
    """Do what is asked, all checks first; print the state where nothing is."""
    store = Store.at(config)
    container = store.containers.find(options.container)
    changes = (options.execmode, options.nvidia, options.purge, options.fixperm)
    if any(changes):
        store.containers.refuse_lower(container.directory, "setup")
    mode = _new_mode(store, container, options)
    if options.nvidia and not options.force:
        _need_driver()
    if options.purge:
        purge(Path(container.directory))
    if options.fixperm:
        make_usable(Path(container.root))
    if options.nvidia:
        set_nvidia(container.directory, store.paths.file_mode)
    if mode is not None:
        write_mode(container.directory, mode, store.paths.file_mode)
    if not (any(changes) or options.force):
        print(f"execmode: {effective_mode(config, container).value}")
        print(f"nvidiamode: {wants_nvidia(container.directory)}")
    return 0


def _new_mode(store: Store, container: Container, options: argparse.Namespace) -> Optional[ExecutionMode]:
    if not options.execmode:
        return None
    mode = ExecutionMode.parse(options.execmode)
    require_engine("setup", mode)
    if store.containers.is_protected(container.directory):
        raise StoreError(f"setup: {options.container}: protected", f"udocker unprotect {options.container}")
    recorded = _recorded(container)
    if recorded is not None and recorded.family == "F" and not options.force:
        # Another record would hide what was changed, which a run has to know.
        raise changed_files("setup", container, recorded)
    return mode


def _recorded(container: Container) -> Optional[ExecutionMode]:
    try:
        return read_mode(container.directory)
    except StoreCorrupt:
        return None  # it is about to be replaced


def _need_driver() -> None:
    from udocker.system.nvidia import find_driver

    if find_driver(os.environ.get("LD_LIBRARY_PATH", ""), os.environ.get("PATH", "")) is None:
        message = "setup: --nvidia: this host has no NVIDIA driver: no libcuda.so or libnvidia-ml.so found"
        raise EngineError(message, "--force records the wish for hosts that have one")
