"""``udocker doctor``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Optional

from udocker.cli.output import printable
from udocker.config import Config
from udocker.engine.base import Engine
from udocker.engine.probed import Probed
from udocker.engine.select import MODES, engine_of, other_tracer, preferred_modes, why_not
from udocker.model.mode import ExecutionMode
from udocker.run.modes import configured_mode

DESCRIPTION = """Tell which execution modes work on this host, and what to do about the others.

Each is tried, and the default remembered. Compute nodes may differ from the login node: run it there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command has no options."""


def run(config: Config, options: argparse.Namespace) -> int:
    """Print one line a mode, which is the default here, and what hinders all of them."""
    default = None
    for mode in preferred_modes():
        engine = engine_of(mode, config.udocker_dir)
        if config.proot and mode.family == "P":
            engine = other_tracer(config.proot, config.udocker_dir)
        support = engine.check(mode)
        if support.available:
            default = default or mode
            print(f"{mode.value}: works here, {_offers(engine)}")
        else:
            print(f"{mode.value}: does not work here: {printable(why_not(support))}")
    # What was found on another day, or under other circumstances, is corrected with it.
    Probed.here(config.udocker_dir).write(default.value if default is not None else "")
    _print_default(config, default)
    if _is_noexec(Path(config.udocker_dir)):
        print(
            f"store: {printable(str(config.udocker_dir))}: mounted noexec: no mode can execute a container's "
            "programs there (set UDOCKER_DIR to another file system)"
        )
    return 0


def _offers(engine: Engine) -> str:
    abilities = engine.abilities
    if abilities.emulates_users:
        return "with any user inside, by emulation"
    return "with any user inside" if abilities.other_users else "as you are, without other users"


def _print_default(config: Config, default: Optional[ExecutionMode]) -> None:
    chosen = configured_mode(config)
    if chosen in MODES:
        print(f"default: {chosen.value}, set by UDOCKER_DEFAULT_EXECUTION_MODE")
    elif default is None:
        print("default: none: no container can be run on this host")
    else:
        print(f"default: {default.value}, the first of these that works here")


def _is_noexec(directory: Path) -> bool:
    """Whether the file system that holds the store, or will hold it, forbids to execute anything."""
    place = next(path for path in (directory.absolute(), *directory.absolute().parents) if path.exists())
    return bool(os.statvfs(place).f_flag & os.ST_NOEXEC)
