"""What the engines' native launchers have in common: their options, and how they are asked what works."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from udocker.engine.base import Joining, Launch, Process, Support
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Callable

    from _typeshed import StrPath

_PROBE_SECONDS = 30
_PREFIX = "udocker: run: "


def options(root: StrPath, process: Process, without: Sequence[str]) -> Iterator[str]:
    """The options that every launcher takes, in any order."""
    yield from ("--root", os.path.abspath(root))
    yield from ("--uid", str(process.identity.uid), "--gid", str(process.identity.gid))
    yield from ("--workdir", process.workdir)
    if process.read_only:
        yield "--read-only"
    for call in without:
        yield from ("--without", call)
    for path in process.volumes:
        yield from ("--volume", path)
    for path in process.scratch:
        yield from ("--scratch", path)
    for mount in process.mounts:
        yield from ("--bind-ro" if mount.read_only else "--bind", mount.source, mount.target)
    for file in process.files:
        yield from ("--extend", file.source, file.target, file.text)


def again(run: Launch, joining: Joining) -> Launch:
    """A launch like another one, of another program: it sees the same root and binds.

    Only values that are options' own stand before the first ``--``: udocker makes no other ones.
    """
    words = list(run.argv[: run.argv.index("--")])
    if joining.workdir:
        words[words.index("--workdir") + 1] = joining.workdir
    if joining.identity is not None:
        words[words.index("--uid") + 1] = str(joining.identity.uid)
        words[words.index("--gid") + 1] = str(joining.identity.gid)
    return Launch((*words, "--", *joining.argv), joining.env, run.cwd)


def detaching(joining: Joining) -> tuple[str, ...]:
    """The option for a program whose standard error is not the launcher's."""
    return ("--detach",) if joining.detached else ()


def probe(launcher: Callable[[], str], *words: str) -> Support:
    """Let the launcher try, in a process of its own, and take its line for the reason."""
    import subprocess  # a run does not probe where it is known what works

    from udocker.errors import EngineUnavailable

    try:
        result = subprocess.run(
            [launcher(), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except EngineUnavailable as error:
        return Support(False, error.message, error.hint)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Support(False, f"engine: {error}")
    if result.returncode == 0:
        return Support(True)
    reason = os.fsdecode(result.stderr).strip() or f"ended with status {result.returncode}"
    return Support(False, reason[len(_PREFIX) :] if reason.startswith(_PREFIX) else reason)
