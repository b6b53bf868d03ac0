"""What ``udocker-sbatch`` and ``udocker-srun`` have in common: our options among those of Slurm's command."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

from udocker import api

from ..jobspec import PREPARE_CHOICES, STAGE_CHOICES
from ..nearest import nearest
from .options import Given, Line, Syntax, Takes, read_help

# Our options: what each takes, and its line in the help.
_OURS: Mapping[str, tuple[Takes, str, str]] = {
    "image": (Takes.VALUE, "IMAGE", "the image, pinned to its digest at submission"),
    "container": (Takes.VALUE, "NAME", "a container that is there, instead of an image"),
    "exec-mode": (Takes.VALUE, "MODE", "how to run it: R1, T2, P1...; what the node allows if not given"),
    "mount": (Takes.VALUE, "SOURCE[:TARGET][:ro]", "bind a path of the host; may be given again"),
    "env": (Takes.VALUE, "NAME[=VALUE]", "a variable for the command; may be given again"),
    "workdir": (Takes.VALUE, "DIR", "the directory in the container to run in"),
    "user": (Takes.VALUE, "USER[:GROUP]", "who to be in the container"),
    "entrypoint": (Takes.VALUE, "COMMAND", "instead of the image's; '' for none"),
    "nvidia": (Takes.NOTHING, "", "show the driver of the node, for GPUs"),
    "prepare": (Takes.VALUE, "|".join(PREPARE_CHOICES), "who pulls and unpacks the image"),
    "stage": (Takes.VALUE, "|".join(STAGE_CHOICES), "whence tasks run: the store, or a copy on the node"),
    "prefetch": (Takes.VALUE, "IMAGE", "another image that the tasks use; may be given again"),
    "no-usage": (Takes.NOTHING, "", "keep no usage records"),
    "insecure": (Takes.NOTHING, "", "allow plain HTTP and unverified TLS"),
    "dry-run": (Takes.NOTHING, "", "print what would be done and do nothing"),
}


def read_line(command: str, syntax: Syntax, words: Sequence[str], ours: Sequence[str]) -> Line:
    """Read a command line of Slurm's command with those of our options.

    The command itself is asked only where a long option is none that Slurm has: a plug-in's.
    """
    mixed = syntax.adding({name: _OURS[name][0] for name in ours}, exact=True)
    line = mixed.read(words)
    if any(name not in mixed.names and len(name) > 1 for name in (one.name for one in line.given)):
        mixed = mixed.adding(_plugins(command, mixed))
        line = mixed.read(words)
    for one in line.given:
        if one.name in ours:
            _check(command, one)
        elif one.name not in mixed.names:
            _refuse_mistyped(command, one.name, mixed, ours)
    return line


def _refuse_mistyped(command: str, name: str, known: Syntax, ours: Sequence[str]) -> None:
    """Raise UsageError for what looks like an option of ours; all else is the command's to judge."""
    near = nearest(name, ours)
    if near and not any(one.startswith(name) for one in known.names if one not in ours):
        raise api.UsageError(f"{command}: --{name}: unknown option", f"did you mean --{near}?")


def _check(command: str, given: Given) -> None:
    takes = _OURS[given.name][0]
    if takes is Takes.VALUE and given.value is None:
        raise api.UsageError(f"{command}: --{given.name}: needs a value")
    if takes is Takes.NOTHING and given.value is not None:
        raise api.UsageError(f"{command}: --{given.name}: takes no value")


def spec_fields(line: Line, directory: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a JobSpec that our options say; raises UsageError."""
    image, container = line.last("image") or "", line.last("container") or ""
    if bool(image) == bool(container):
        cause = "both given" if image else "one of them is needed"
        raise api.UsageError(f"submit: --image, --container: {cause}")
    fields: dict[str, Any] = {
        "image": image,
        "container": container,
        "mode": line.last("exec-mode") or "",
        "mounts": line.all("mount"),
        "env": tuple(pair for text in line.all("env") for pair in _variable(text, environ)),
        "workdir": line.last("workdir") or "",
        "user": line.last("user") or "",
        "entrypoint": _entrypoint(line.last("entrypoint")),
        "nvidia": line.last("nvidia") is not None,
        "directory": directory,
        "prefetch": line.all("prefetch"),
        "usage": line.last("no-usage") is None,
    }
    chosen = {name: line.last(name) for name in ("prepare", "stage")}
    return {**fields, **{name: value for name, value in chosen.items() if value is not None}}


def option_help(ours: Sequence[str]) -> str:
    """Our options' part of a command's help."""
    return "\n".join(f"  {_shown(name):<34} {_OURS[name][2]}" for name in ours)


def _shown(name: str) -> str:
    return f"--{name} {_OURS[name][1]}".rstrip()


def _plugins(command: str, known: Syntax) -> Mapping[str, Takes]:
    try:
        text = subprocess.run([command, "--help"], capture_output=True, text=True, errors="replace").stdout
    except OSError:
        return {}  # a machine without Slurm says so when the job is submitted
    return {name: takes for name, takes in read_help(text).items() if name not in known.names}


def _entrypoint(text: Optional[str]) -> Optional[tuple[str, ...]]:
    if text is None:
        return None
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise api.UsageError(f"submit: --entrypoint {text!r}: {error}") from None


def _variable(text: str, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    name, equals, value = text.partition("=")
    if not name:
        raise api.UsageError(f"submit: --env {text!r}: no name", "write NAME=VALUE")
    if equals:
        yield (name, value)
    elif name in environ:
        yield (name, environ[name])
