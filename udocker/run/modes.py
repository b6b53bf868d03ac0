"""The execution mode of a run: the user's, else the container's, else the configuration's."""

from __future__ import annotations

from udocker.config import Config
from udocker.engine.select import MODES, default_mode, preferred_modes
from udocker.errors import ConfigError, EngineError, EngineUnavailable, UsageError
from udocker.model.container import Container
from udocker.model.mode import ExecutionMode
from udocker.store.execmode import read_mode
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional


def effective_mode(config: Config, container: Container) -> ExecutionMode:
    """What ``udocker setup`` shows: the recorded mode, or what a container without one runs in.

    On a host that allows no mode it is the one that another host would be asked for first.
    """
    return read_mode(container.directory) or configured_mode(config) or _default(config)


def _default(config: Config) -> ExecutionMode:
    try:
        return default_mode(config.udocker_dir)
    except EngineUnavailable:
        return preferred_modes()[0]


def mode_of(config: Config, container: Container, asked: Optional[ExecutionMode]) -> Optional[ExecutionMode]:
    """The mode to run in, None for whatever this host allows.

    A mode that this version has no engine for does not hinder: P, R and S leave the container's files as they
    are, and for those of F see ``udocker.run.hostfit``.
    """
    recorded = recorded_mode(container)
    if asked is not None:
        return asked
    return next((mode for mode in (recorded, configured_mode(config)) if mode in MODES), None)


def recorded_mode(container: Container) -> Optional[ExecutionMode]:
    """The mode that the container has recorded, if any; raises StoreCorrupt."""
    return None if container.location else read_mode(container.directory)


def changed_files(act: str, container: Container, mode: ExecutionMode) -> EngineError:
    """The error for a container that an F mode has changed, and that cannot be used as it is."""
    name = container.names[0] if container.names else container.id
    return EngineError(
        f"{act}: {name}: set up for execution mode {mode.value}, which changed its files to fit the host",
        f"undo it with the udocker that did it (udocker setup --execmode=P1 {name}), or create it again",
    )


def configured_mode(config: Config) -> Optional[ExecutionMode]:
    """The mode that the configuration has for containers without one; raises ConfigError."""
    try:
        return ExecutionMode.parse(config.execution_mode) if config.execution_mode else None
    except UsageError as error:
        message = f"configuration: UDOCKER_DEFAULT_EXECUTION_MODE: {error.message}"
        raise ConfigError(message, error.hint) from None
