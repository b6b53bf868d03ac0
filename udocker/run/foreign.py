"""Images for another architecture than this host's: what runs them, or what is missing for that."""

from __future__ import annotations

import os

from udocker.engine.base import Abilities
from udocker.engine.select import first_able
from udocker.log import Log
from udocker.model.imageconfig import ImageConfig, Platform
from udocker.system.emulators import Emulator, find_emulator, is_registered, program_for
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional

    from udocker.config import Config
    from udocker.model.mode import ExecutionMode

_LOG = Log(__name__)


def mode_for_foreign(config: Config, image: ImageConfig) -> Optional[ExecutionMode]:
    """A mode that emulates the image's architecture, where this host has what that takes."""
    architecture = image.platform.architecture
    if is_registered(architecture) or _emulator(architecture) is None:
        return None
    return first_able(lambda abilities: abilities.emulators, config.udocker_dir)


def plan_emulator(image: ImageConfig, abilities: Abilities) -> Optional[Emulator]:
    """What the engine is to run the image's programs by; a line where they will not run.

    A program of the host's own architecture in it runs as ever.
    """
    architecture = image.platform.architecture
    emulator = _emulator(architecture)
    if abilities.emulators and emulator is not None:
        return emulator
    # An engine that loads programs itself does not ask the kernel for one.
    if abilities.emulators or not is_registered(architecture):
        _LOG.warning("the image is for %s and this host is %s%s", *_words(image, emulator))
    return None


def _words(image: ImageConfig, emulator: Optional[Emulator]) -> tuple[object, ...]:
    program, advice = program_for(image.platform.architecture), ""
    if emulator is not None:
        advice = ": this execution mode does not emulate it; T and P do"
    elif program:
        advice = f": it takes {program}, of the package qemu-user-static"
    return image.platform, Platform.host(), advice


def _emulator(architecture: str) -> Optional[Emulator]:
    return find_emulator(architecture, os.environ.get("PATH", ""))
