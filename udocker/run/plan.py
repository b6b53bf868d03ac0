"""A run in full: the image's configuration and the user's wishes become one command line."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping

from udocker.config import Config
from udocker.engine.base import Abilities, Engine, Launch, Process
from udocker.engine.select import choose, other_tracer, require_support
from udocker.errors import StoreCorrupt, UdockerError, UsageError
from udocker.log import Log
from udocker.model.container import Container
from udocker.model.imageconfig import ImageConfig, Platform
from udocker.model.mode import ExecutionMode
from udocker.model.mount import Mount
from udocker.model.runspec import RunSpec
from udocker.run.accounts import host_home, plan_accounts
from udocker.run.environment import build_environment
from udocker.run.identity import GROUP, PASSWD
from udocker.run.modes import mode_of, recorded_mode
from udocker.run.mounts import plan_devices, plan_mounts, plan_volumes
from udocker.store.execmode import PARKED_TARGET, parked_file, parked_files, wants_nvidia
from udocker.system.host import GRAPHICS_DIRECTORIES, HostFacts
from udocker.values import TYPE_CHECKING, replace

if TYPE_CHECKING:
    from typing import Optional

    from udocker.model.port import PublishedPort
    from udocker.system.emulators import Emulator

# What is run where nobody says what, and there is no metadata either: the first that is there.
_SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/sh")
_LOG = Log(__name__)


def plan_run(
    config: Config,
    container: Container,
    spec: RunSpec,
    environ: Mapping[str, str],
    facts: Optional[HostFacts] = None,
    choice: Optional[tuple[Engine, ExecutionMode]] = None,
) -> Launch:
    """The launch for ``spec``.

    This host is looked at where ``facts`` or the engine's ``choice`` are not given.  Raises UsageError
    for a spec that makes no sense here, StoreCorrupt for an image that does not, EngineUnavailable.
    """
    engine, mode = choice or choice_of(config, container, spec)
    if config.engine_without:
        engine = engine.doing_without(config.engine_without)
    if config.proot and mode.family == "P":
        engine = other_tracer(config.proot, config.udocker_dir)
        require_support(engine, mode)
    if not spec.metadata:
        container = replace(container, config=ImageConfig({}, container.config.platform))
    process = plan_process(container, spec, environ, facts or HostFacts.read(), engine.abilities)
    process = _as_set_up(process, container, spec, environ)
    if os.path.dirname(os.path.dirname(container.directory)) in config.lower:
        process = replace(process, read_only=True)  # the site's, even where this user may write there
    return engine.plan(container, process, mode)


def choice_of(config: Config, container: Container, spec: RunSpec) -> tuple[Engine, ExecutionMode]:
    """The engine and the mode for ``spec``; raises UsageError, EngineUnavailable."""
    mode = mode_of(config, container, spec.mode)
    if mode is None and is_other_platform(container):
        from udocker.run.foreign import mode_for_foreign  # few images are for another architecture

        mode = mode_for_foreign(config, container.config)
    if mode is None and (spec.ports or spec.publish_all):
        from udocker.run.ports import mode_for_ports  # few runs publish any

        mode = mode_for_ports(config, container.config, spec)
    return choose(mode, config.udocker_dir)


def plan_process(
    container: Container, spec: RunSpec, environ: Mapping[str, str], facts: HostFacts, abilities: Abilities
) -> Process:
    """What an engine of these abilities starts, by docker's rules.

    Reads the container's passwd and group files.
    """
    image = container.config
    argv = _argv(container, spec)
    refuse_unpassable(_texts_of_spec(spec), UsageError, "run")
    refuse_unpassable(_texts_of_image(container), StoreCorrupt, "image configuration")
    parked = None if container.location else parked_files(container.directory)
    elsewhere = {path: file for path in (PASSWD, GROUP) if parked and (file := parked_file(parked, path))}
    user = spec.user or image.user
    identity, files = plan_accounts(container.root, spec, user, elsewhere, facts, abilities)
    mounts = plan_mounts(_wanted_mounts(spec, facts, parked), spec.system_mounts, facts, spec.excluded)
    return Process(
        argv=argv,
        env=build_environment(container, spec, identity, environ, facts),
        workdir=_workdir(spec.workdir, image.workdir),
        identity=identity,
        mounts=mounts,
        volumes=plan_volumes(image.volumes, mounts),
        files=files,
        read_only=spec.read_only,
        kernel=_kernel(spec.kernel, abilities),
        ports=_ports(image, spec, abilities),
        emulator=_emulator(container, abilities),
    )


def _emulator(container: Container, abilities: Abilities) -> Optional[Emulator]:
    if not is_other_platform(container):
        return None
    from udocker.run.foreign import plan_emulator  # few images are for another architecture

    return plan_emulator(container.config, abilities)


def _ports(image: ImageConfig, spec: RunSpec, abilities: Abilities) -> tuple[PublishedPort, ...]:
    if not (spec.ports or spec.publish_all):
        return ()
    from udocker.run.ports import plan_ports  # few runs publish any

    return plan_ports(image, spec, abilities)


def _kernel(release: str, abilities: Abilities) -> str:
    if release and not abilities.kernel_release:
        message = "run: --kernel %s: this execution mode shows the host's own, %s; T and P can show another"
        _LOG.warning(message, release, os.uname().release)
        return ""
    return release


def _as_set_up(process: Process, container: Container, spec: RunSpec, environ: Mapping[str, str]) -> Process:
    """The process with what ``udocker setup`` of this or another udocker made it need."""
    # Both are imported only where they are needed: few containers are set up.
    recorded = recorded_mode(container)
    if recorded is not None and recorded.family == "F":
        from udocker.run.hostfit import with_host_paths

        process = with_host_paths(process, container, recorded, spec.system_mounts)
    if spec.nvidia or (not container.location and wants_nvidia(container.directory)):
        from udocker.run.hostlibs import with_nvidia

        process = with_nvidia(process, environ, spec.system_mounts)
    return process


def _wanted_mounts(spec: RunSpec, facts: HostFacts, parked: Optional[str]) -> Iterable[Mount]:
    """The user's mounts and what his other options show of the host."""
    yield from spec.mounts
    yield from plan_devices(spec.devices, spec.system_mounts)
    if spec.bind_home:
        yield _same(host_home(facts.uid))
    if spec.graphics:
        yield from _graphics(spec.system_mounts)
    if parked is not None:
        # The root's links to files that udocker 1.3 put away lead to them again.
        yield Mount(parked, PARKED_TARGET)


def _graphics(system: bool) -> Iterable[Mount]:
    found = [path for path in GRAPHICS_DIRECTORIES if os.path.isdir(path)]
    if not found:
        _LOG.warning("run: --dri: this host has no drivers for direct rendering")
    if not system and os.path.isdir("/dev/dri"):
        found.append("/dev/dri")
    yield from map(_same, found)


def _same(path: str) -> Mount:
    return Mount(path, os.path.normpath(path))


def argv_of(container: Container, spec: RunSpec) -> tuple[str, ...]:
    """What a run of the container starts; nothing where neither the user nor the image says what."""
    argv = spec.argv(container.config.entrypoint, container.config.cmd)
    if not argv and (container.location or not spec.metadata) and spec.entrypoint is None:
        argv = next(((shell,) for shell in _SHELLS if os.path.lexists(f"{container.root}{shell}")), ())
    return argv


def _argv(container: Container, spec: RunSpec) -> tuple[str, ...]:
    argv = argv_of(container, spec)
    if not argv:
        raise UsageError("run: no command given, and the image has none", "add a command")
    return argv


def _workdir(asked: str, image: str) -> str:
    if asked and not asked.startswith("/"):
        raise UsageError(f"workdir: {asked!r}: not an absolute path")
    return asked or posixpath.join("/", image)


def is_other_platform(container: Container) -> bool:
    """Whether the container's image says that it is for another platform than this host."""
    image = container.config.platform
    return "unknown" not in (image.os, image.architecture) and not Platform.host().accepts(image)


def _texts_of_spec(spec: RunSpec) -> Iterable[str]:
    yield from (*spec.command, *(spec.entrypoint or ()), spec.workdir, spec.user, spec.kernel)
    for name, value in spec.env:
        yield from (name, value)
    for mount in spec.mounts:
        yield from (mount.source, mount.target)


def _texts_of_image(container: Container) -> Iterable[str]:
    image = container.config
    yield from (*image.entrypoint, *image.cmd, image.workdir, image.user)
    for name, value in image.env:
        yield from (name, value)


def refuse_unpassable(texts: Iterable[str], error: type[UdockerError], what: str) -> None:
    """Raise ``error`` for what no program can be given: NUL bytes, and JSON's lone surrogates, no text."""
    for text in texts:
        try:
            data = os.fsencode(text)
        except UnicodeEncodeError:
            raise error(f"{what}: {text!r}: not text that can be passed to a program") from None
        if b"\0" in data:
            raise error(f"{what}: {text!r}: holds a NUL byte")
