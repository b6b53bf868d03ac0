"""A run in full: the image's configuration and the user's wishes become one command line."""

from __future__ import annotations

import logging
import os
import posixpath
from collections.abc import Iterable, Mapping
from typing import Optional

from udocker.config import Config
from udocker.engine.base import Engine, Launch, Process
from udocker.engine.select import choose
from udocker.errors import StoreCorrupt, UdockerError, UsageError
from udocker.model.container import Container
from udocker.model.manifest import Platform
from udocker.model.mode import ExecutionMode
from udocker.model.runspec import RunSpec
from udocker.run.environment import build_environment
from udocker.run.identity import resolve_identity
from udocker.run.mounts import plan_mounts
from udocker.system.host import HostFacts

_LOG = logging.getLogger(__name__)


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
    _warn_of_platform(container)
    process = plan_process(container, spec, environ, facts or HostFacts.read())
    engine, mode = choice or choose(spec.mode)
    return engine.plan(container, process, mode)


def plan_process(
    container: Container, spec: RunSpec, environ: Mapping[str, str], facts: HostFacts
) -> Process:
    """What an engine starts, by docker's rules.  Reads the container's passwd and group files."""
    image = container.config
    argv = spec.argv(image.entrypoint, image.cmd)
    if not argv:
        raise UsageError("run: no command given, and the image has none", "add a command")
    _refuse_unpassable(_texts_of_spec(spec), UsageError, "run")
    _refuse_unpassable(_texts_of_image(container), StoreCorrupt, "image configuration")
    identity = resolve_identity(container.root, spec.user or image.user)
    return Process(
        argv=argv,
        env=build_environment(container, spec, identity, environ, facts),
        workdir=_workdir(spec.workdir, image.workdir),
        identity=identity,
        mounts=plan_mounts(spec.mounts, spec.system_mounts, facts),
    )


def _workdir(asked: str, image: str) -> str:
    if asked and not asked.startswith("/"):
        raise UsageError(f"workdir: {asked!r}: not an absolute path")
    return asked or posixpath.join("/", image)


def _warn_of_platform(container: Container) -> None:
    """As docker does; it may work all the same, by emulation or on a machine of the same family."""
    image, host = container.config.platform, Platform.host()
    if "unknown" not in (image.os, image.architecture) and not host.accepts(image):
        _LOG.warning("the image is for %s and this host is %s", image, host)


def _texts_of_spec(spec: RunSpec) -> Iterable[str]:
    yield from (*spec.command, *(spec.entrypoint or ()), spec.workdir, spec.user)
    for name, value in spec.env:
        yield from (name, value)
    for mount in spec.mounts:
        yield from (mount.source, mount.target)


def _texts_of_image(container: Container) -> Iterable[str]:
    image = container.config
    yield from (*image.entrypoint, *image.cmd, image.workdir, image.user)
    for name, value in image.env:
        yield from (name, value)


def _refuse_unpassable(texts: Iterable[str], error: type[UdockerError], what: str) -> None:
    """Refuse what no program can be given: NUL bytes, and JSON's lone surrogates, which are no text."""
    for text in texts:
        try:
            data = os.fsencode(text)
        except UnicodeEncodeError:
            raise error(f"{what}: {text!r}: not text that can be passed to a program") from None
        if b"\0" in data:
            raise error(f"{what}: {text!r}: holds a NUL byte")
