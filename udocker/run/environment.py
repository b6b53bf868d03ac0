"""The program's environment, by docker's rules: nothing of the host's passes by itself."""

from __future__ import annotations

from collections.abc import Mapping

from udocker.engine.base import Identity
from udocker.errors import UsageError
from udocker.model.container import Container
from udocker.model.runspec import RunSpec
from udocker.system.host import HostFacts

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def build_environment(
    container: Container, spec: RunSpec, identity: Identity, environ: Mapping[str, str], facts: HostFacts
) -> dict[str, str]:
    """Defaults, over them the image's variables, over them the user's; raises UsageError."""
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": facts.hostname, "HOME": identity.home}
    if facts.terminal and environ.get("TERM"):
        env["TERM"] = environ["TERM"]
    # An entry without a name says nothing; the kernel would take it, the C library cannot find it.
    env.update((name, value) for name, value in container.config.env if name)
    for name, value in spec.env:
        if not name or "=" in name:
            raise UsageError(f"environment: {name!r}: not the name of a variable", "write NAME=VALUE")
        env[name] = value
    return env
