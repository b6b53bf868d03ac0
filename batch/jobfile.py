"""Job files: YAML that becomes a JobSpec, with the line of whatever is wrong.

Scalars are taken as they are written, never by YAML's guesses: ``NO`` stays ``NO`` and ``010`` stays ``010``.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

import yaml

from .errors import InvalidJob
from .jobspec import PREPARE_CHOICES, STAGE_CHOICES, ArraySpec, JobSpec
from .sizes import parse_seconds, parse_size

MAX_FILE = 4 << 20


@dataclass(frozen=True)
class _Source:
    """Where a message points to."""

    name: str
    scheduler: str

    def error(self, node: yaml.Node, cause: str, hint: str = "") -> InvalidJob:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        return InvalidJob(f"job file: {self.name}:{line}:{column}: {cause}", hint)


_Reader = Callable[[yaml.Node, _Source], Any]


def load_job(text: str, name: str, scheduler: str, directory: str) -> JobSpec:
    """Read a job file's text; ``name`` is for messages, ``directory`` the base of relative paths.

    ``scheduler`` chooses among the file's ``options``.  Raises InvalidJob.
    """
    source = _Source(name, scheduler)
    if len(text) > MAX_FILE:
        raise InvalidJob(f"job file: {name}: larger than {MAX_FILE >> 20} MiB")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise InvalidJob(f"job file: {where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidJob(f"job file: {name}: {str(error).splitlines()[0]}") from None
    if not isinstance(node, yaml.MappingNode):
        raise InvalidJob(f"job file: {name}: not a mapping of keys to values", "see the README's example")
    values = _values(node, source)
    values.setdefault("directory", "")
    values["directory"] = os.path.normpath(os.path.join(directory, values["directory"]))
    if "image" not in values:
        raise InvalidJob(f"job file: {name}: image: missing", "name the image to run")
    return JobSpec(**values)


def _values(node: yaml.MappingNode, source: _Source) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _scalar(key_node, source)
        if key not in _KEYS:
            close = difflib.get_close_matches(key, _KEYS, 1)
            hint = f"did you mean {close[0]}?" if close else "known keys: " + ", ".join(sorted(_KEYS))
            raise source.error(key_node, f"{key!r}: unknown key", hint)
        field, read = _KEYS[key]
        if field in values:
            raise source.error(key_node, f"{key}: given twice")
        try:
            values[field] = read(value_node, source)
        except ValueError as error:
            raise source.error(value_node, f"{key}: {_shown(value_node)}: {error}") from None
        except InvalidJob as error:
            if error.message.startswith("job file:"):
                raise
            raise source.error(value_node, error.message, error.hint) from None
    return values


def _scalar(node: yaml.Node, source: _Source) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise source.error(node, f"a {_kind(node)} where a single value belongs")
    if "\0" in node.value:
        raise source.error(node, "a NUL byte, which no program can receive")
    return str(node.value)


def _words(node: yaml.Node, source: _Source) -> tuple[str, ...]:
    """A list, or one string that is split into words as docker compose splits a command."""
    if isinstance(node, yaml.ScalarNode):
        return tuple(shlex.split(str(node.value)))
    return _list(node, source)


def _list(node: yaml.Node, source: _Source) -> tuple[str, ...]:
    if not isinstance(node, yaml.SequenceNode):
        raise source.error(node, f"a {_kind(node)} where a list belongs")
    return tuple(_scalar(item, source) for item in node.value)


def _mapping(node: yaml.Node, source: _Source) -> tuple[tuple[str, str], ...]:
    if not isinstance(node, yaml.MappingNode):
        raise source.error(node, f"a {_kind(node)} where a mapping of names to values belongs")
    pairs: dict[str, str] = {}
    for key_node, value_node in node.value:
        key = _scalar(key_node, source)
        if not key or "=" in key or key in pairs:
            raise source.error(key_node, f"{key!r}: not a name, or given twice")
        pairs[key] = _scalar(value_node, source)
    return tuple(pairs.items())


def _options(node: yaml.Node, source: _Source) -> tuple[str, ...]:
    """Options by batch system: those of others are not ours to judge."""
    if not isinstance(node, yaml.MappingNode):
        raise source.error(
            node, f"a {_kind(node)} where options by batch system belong", "options: {slurm: []}"
        )
    options = {_scalar(key, source): _list(value, source) for key, value in node.value}
    return options.get(source.scheduler, ())


def _count(node: yaml.Node, source: _Source) -> int:
    text = _scalar(node, source)
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 1_000_000:
        raise ValueError("not a whole number above 0")
    return int(text)


def _truth(node: yaml.Node, source: _Source) -> bool:
    known = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    text = _scalar(node, source).lower()
    if text not in known:
        raise ValueError("not true or false")
    return known[text]


def _shown(node: yaml.Node) -> str:
    return repr(node.value) if isinstance(node, yaml.ScalarNode) else f"this {_kind(node)}"


def _one_of(choices: tuple[str, ...]) -> _Reader:
    def read(node: yaml.Node, source: _Source) -> str:
        text = _scalar(node, source)
        if text not in choices:
            raise ValueError(f"not one of {', '.join(choices)}")
        return text

    return read


def _kind(node: yaml.Node) -> str:
    kinds: dict[type, str] = {yaml.MappingNode: "mapping", yaml.SequenceNode: "list"}
    return kinds.get(type(node), "single value")


# Every key of a job file, the JobSpec's field, and how it is read.
_KEYS: Mapping[str, tuple[str, _Reader]] = {
    "image": ("image", _scalar),
    "command": ("command", _words),
    "name": ("name", _scalar),
    "array": ("array", lambda node, source: ArraySpec.parse(_scalar(node, source))),
    "mounts": ("mounts", _list),
    "env": ("env", _mapping),
    "workdir": ("workdir", _scalar),
    "user": ("user", _scalar),
    "entrypoint": ("entrypoint", _words),
    "directory": ("directory", _scalar),
    "stdout": ("stdout", _scalar),
    "stderr": ("stderr", _scalar),
    "cpus": ("cpus", _count),
    "memory": ("memory", lambda node, source: parse_size(_scalar(node, source))),
    "time": ("time_limit", lambda node, source: parse_seconds(_scalar(node, source))),
    "prepare": ("prepare", _one_of(PREPARE_CHOICES)),
    "stage": ("stage", _one_of(STAGE_CHOICES)),
    "prefetch": ("prefetch", _list),
    "usage": ("usage", _truth),
    "options": ("options", _options),
}
