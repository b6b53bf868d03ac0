"""The program's environment, by docker's rules: nothing of the host's passes unless it is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from udocker.engine.base import Identity
from udocker.errors import UsageError
from udocker.model.container import Container
from udocker.model.runspec import RunSpec
from udocker.system.host import HostFacts

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# With it shells source the terminal's own script, which no image has.
_NEVER_PASSED = ("VTE_VERSION",)


def build_environment(
    container: Container, spec: RunSpec, identity: Identity, environ: Mapping[str, str], facts: HostFacts
) -> dict[str, str]:
    """Defaults, over them the image's variables, over them the user's; raises UsageError."""
    env: dict[str, str] = {}
    if spec.host_env:
        env.update((name, value) for name, value in environ.items() if name not in _NEVER_PASSED)
    env.update({"PATH": DEFAULT_PATH, "HOSTNAME": facts.hostname, "HOME": identity.home})
    if facts.terminal and environ.get("TERM"):
        env["TERM"] = environ["TERM"]
    # An entry without a name says nothing; the kernel would take it, the C library cannot find it.
    env.update((name, value) for name, value in container.config.env if name)
    for name, value in spec.env:
        if not name or "=" in name:
            raise UsageError(f"environment: {name!r}: not the name of a variable", "write NAME=VALUE")
        env[name] = value
    return env
