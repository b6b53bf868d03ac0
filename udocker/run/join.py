"""A program that joins a run: the run's root, binds and mode, and its environment."""

from __future__ import annotations

import os

from udocker.config import Config
from udocker.engine.base import Identity, Joining, Launch
from udocker.engine.select import engine_of, other_tracer
from udocker.engine.translator import TRANSLATOR
from udocker.errors import StoreCorrupt, UsageError
from udocker.model.container import Container
from udocker.model.mode import ExecutionMode
from udocker.model.runrecord import RunRecord
from udocker.model.runspec import RunSpec
from udocker.run.accounts import plan_accounts
from udocker.run.plan import refuse_unpassable
from udocker.system.host import HostFacts
from udocker.system.process import ProcessIdentity
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Optional


def plan_join(
    config: Config,
    container: Container,
    record: RunRecord,
    program: ProcessIdentity,
    spec: RunSpec,
    environ: Mapping[str, str],
    detached: bool = False,
) -> Launch:
    """The launch of ``spec``'s command in a run; of the spec its command, env, workdir and user count.

    ``detached`` is as in ``Joining``.  Variables are the run's, with the spec's over them, and another user's
    home.  Raises UsageError, EngineError, StoreCorrupt.
    """
    texts = [*spec.command, spec.workdir, spec.user, *(text for pair in spec.env for text in pair)]
    refuse_unpassable(texts, UsageError, "exec")
    if spec.workdir and not spec.workdir.startswith("/"):
        raise UsageError(f"exec: --workdir {spec.workdir!r}: not an absolute path")
    try:
        mode = ExecutionMode(record.mode)
    except ValueError:
        raise StoreCorrupt(f"exec: {record.mode!r}: no execution mode of this version") from None
    engine = engine_of(mode, config.udocker_dir)
    if mode.family == "P" and os.path.basename(record.argv[0]) != TRANSLATOR:
        engine = other_tracer(record.argv[0])
    facts, identity = HostFacts.read(), None
    if spec.user:
        identity, _ = plan_accounts(container.root, spec, spec.user, {}, facts, engine.abilities)
    env = _environment(record, spec, identity, facts, environ)
    joining = Joining(program.pid, program.start, spec.command, env, spec.workdir, identity, detached)
    return engine.join(Launch(record.argv, record.env, "/"), joining)


def _environment(
    record: RunRecord,
    spec: RunSpec,
    identity: Optional[Identity],
    facts: HostFacts,
    environ: Mapping[str, str],
) -> dict[str, str]:
    env = dict(record.env)
    if identity is not None:
        env["HOME"] = identity.home
    if facts.terminal and environ.get("TERM"):
        env["TERM"] = environ["TERM"]
    for name, value in spec.env:
        if not name or "=" in name:
            raise UsageError(f"exec: {name!r}: not the name of a variable", "write NAME=VALUE")
        env[name] = value
    return env
