"""Job files: YAML that becomes a JobSpec, with the line of whatever is wrong.

Scalars are taken as they are written, never by YAML's guesses: ``NO`` stays ``NO`` and ``010`` stays ``010``.
Only a variable of ``env`` without a value, or with ``null``, has none.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional

import yaml

from .errors import InvalidJob
from .jobspec import PREPARE_CHOICES, STAGE_CHOICES, ArraySpec, JobSpec
from .nearest import nearest
from .sizes import parse_seconds, parse_size

MAX_FILE = 4 << 20
_VARIABLES = "a variable's name has no blanks and no =, and is not empty"
_NULL = "tag:yaml.org,2002:null"
_SHOWN = "udocker-batch --help shows a job file"
_YAML = f"{_SHOWN}; values with : or # in them need quotes, and indents are of spaces"


@dataclass(frozen=True)
class _Source:
    """What the reading of a value needs to know, as where a message points to."""

    name: str
    scheduler: str
    key: str = ""  # of the file, whose value is read
    environ: Mapping[str, str] = field(default_factory=dict)

    def error(self, node: yaml.Node, cause: str, hint: str = "") -> InvalidJob:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        where = f"{self.name}:{line}:{column}"
        if self.key:
            cause = f"{self.key}: {cause}"
            hint = hint or f"{self.key} is {_KEYS[self.key].text}"
        return InvalidJob(f"job file: {where}: {cause}", hint)


_Reader = Callable[[yaml.Node, _Source], Any]


def load_job(
    text: str,
    name: str,
    scheduler: str,
    directory: str,
    changes: Sequence[str] = (),
    environ: Optional[Mapping[str, str]] = None,
) -> JobSpec:
    """Read a job file's text; ``name`` is for messages, ``directory`` the base of relative paths.

    ``scheduler`` chooses among the file's ``options``.  ``changes`` are ``KEY=VALUE`` with values as the file
    would have them, or ``env.NAME=VALUE``; they replace what the file says.  ``environ`` has the variables
    that it names without a value.  Raises InvalidJob.
    """
    source = _Source(name, scheduler, environ=environ or {})
    if len(text) > MAX_FILE:
        raise InvalidJob(f"job file: {name}: larger than {MAX_FILE >> 20} MiB")
    node = _compose(text, source)
    if not isinstance(node, yaml.MappingNode):
        raise InvalidJob(f"job file: {name}: not a mapping of keys to values", _SHOWN)
    values = _values(node, source)
    for change in changes:
        values.update(_changed(change, values, source))
    values.setdefault("directory", "")
    values["directory"] = os.path.normpath(os.path.join(directory, values["directory"]))
    if "image" not in values and "container" not in values:
        raise InvalidJob(f"job file: {name}: image: missing", "name the image to run")
    return JobSpec(**values)


def schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of job files, as editors and checkers take it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A job of udocker-batch",
        "type": "object",
        "properties": {key: {"description": one.text, **one.schema} for key, one in _KEYS.items()},
        "anyOf": [{"required": ["image"]}, {"required": ["container"]}],
        "additionalProperties": False,
    }


def _changed(change: str, values: Mapping[str, Any], file: _Source) -> dict[str, Any]:
    """The fields that one ``KEY=VALUE`` gives, over those of the file."""
    key, equals, text = change.partition("=")
    if not equals:
        raise InvalidJob(f"--set {change}: no value", "write KEY=VALUE, as in --set array=0-9")
    source = replace(file, name=f"--set {key}")
    key, _, name = key.partition(".")
    if name and key == "env":
        if _is_mistaken(name):
            raise InvalidJob(f"job file: --set {key}: {name!r}: not a variable's name", _VARIABLES)
        pairs = dict(values.get("env", ()))
        return {"env": tuple({**pairs, name: text}.items())}
    if name and key == "options":
        return {"options": _list(_compose(text, source), source)} if name == file.scheduler else {}
    key = f"{key}.{name}" if name else key
    mark = yaml.Mark(source.name, 0, 0, 0, None, 0)
    node = _compose(text, source) if text else yaml.ScalarNode("tag:yaml.org,2002:str", "", mark, mark)
    return _values(
        yaml.MappingNode(
            "tag:yaml.org,2002:map",
            [(yaml.ScalarNode("tag:yaml.org,2002:str", key, mark, mark), node)],
            mark,
            mark,
        ),
        source,
    )


def _compose(text: str, source: _Source) -> Any:
    name = source.name
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise InvalidJob(f"job file: {where}: {error.problem or error.context}", _YAML) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidJob(f"job file: {name}: {str(error).splitlines()[0]}", _YAML) from None


def _values(node: yaml.MappingNode, source: _Source) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _scalar(key_node, source)
        if key not in _KEYS:
            near = nearest(key, _KEYS)
            hint = f"did you mean {near}?" if near else "known keys: " + ", ".join(sorted(_KEYS))
            raise source.error(key_node, f"{key!r}: unknown key", hint)
        field, read = _KEYS[key].field, _KEYS[key].read
        if field in values:
            raise source.error(key_node, f"{key}: given twice")
        about = replace(source, key=key)
        try:
            values[field] = read(value_node, about)
        except ValueError as error:
            raise about.error(value_node, f"{_shown(value_node)}: {error}") from None
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


def _variables(node: yaml.Node, source: _Source) -> tuple[tuple[str, str], ...]:
    """Names and values; one without a value has the submitter's, if any, as docker compose has it."""
    if not isinstance(node, yaml.MappingNode):
        raise source.error(node, f"a {_kind(node)} where a mapping of names to values belongs")
    pairs: dict[str, Optional[str]] = {}
    for key_node, value_node in node.value:
        key = _scalar(key_node, source)
        if _is_mistaken(key):
            raise source.error(key_node, f"{key!r}: not a variable's name", _VARIABLES)
        if key in pairs:
            raise source.error(key_node, f"{key!r}: given twice")
        pairs[key] = source.environ.get(key) if value_node.tag == _NULL else _scalar(value_node, source)
    return tuple((name, value) for name, value in pairs.items() if value is not None)


def _is_mistaken(name: str) -> bool:
    """Whether a name is no variable's; one with blanks could be, but who writes it in a job file errs."""
    return not name or "=" in name or any(char.isspace() for char in name)


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


@dataclass(frozen=True)
class _Key:
    """A key of job files: the JobSpec's field, how it is read, what it means, and its JSON schema."""

    field: str
    read: _Reader
    text: str
    schema: Mapping[str, Any]


_TEXT: Mapping[str, Any] = {"type": "string"}
_SINGLE: Mapping[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_NUMBER_OR_TEXT: Mapping[str, Any] = {"type": ["string", "integer"]}
_LIST: Mapping[str, Any] = {"type": "array", "items": _SINGLE}
_WORDS: Mapping[str, Any] = {"anyOf": [_TEXT, _LIST]}
_OPTIONS: Mapping[str, Any] = {"type": "object", "additionalProperties": _LIST}


def _chosen(choices: tuple[str, ...]) -> Mapping[str, Any]:
    return {"enum": list(choices)}


_KEYS: Mapping[str, _Key] = {
    "image": _Key("image", _scalar, "the image to run in, pinned to its digest at submission", _TEXT),
    "container": _Key("container", _scalar, "a container that is there, instead of an image", _TEXT),
    "command": _Key(
        "command", _words, "the command and its arguments; one string is split into words", _WORDS
    ),
    "name": _Key("name", _scalar, "the job's name", _SINGLE),
    "array": _Key(
        "array",
        lambda node, source: ArraySpec.parse(_scalar(node, source)),
        "the indices of an array, as in 0-39, 1,3,5 or 0-999:10%50",
        _NUMBER_OR_TEXT,
    ),
    "mounts": _Key("mounts", _list, "binds of the host's paths: SOURCE[:TARGET][:ro]", _LIST),
    "env": _Key(
        "env",
        _variables,
        "variables for the command; one without a value is the submitter's, '' is an empty one",
        {"type": "object", "additionalProperties": _SINGLE},
    ),
    "workdir": _Key("workdir", _scalar, "the directory in the container to run in", _TEXT),
    "user": _Key("user", _scalar, "who to be in the container: USER[:GROUP]", _NUMBER_OR_TEXT),
    "entrypoint": _Key("entrypoint", _words, "instead of the image's; an empty list for none", _WORDS),
    "mode": _Key("mode", _scalar, "the execution mode; what the node allows where it is not given", _TEXT),
    "nvidia": _Key("nvidia", _truth, "show the node's driver, for GPUs", {"type": "boolean"}),
    "directory": _Key("directory", _scalar, "where the job runs on the host and its output goes", _TEXT),
    "stdout": _Key("stdout", _scalar, "the file for output, with sbatch's %A, %a, %j, %x", _TEXT),
    "stderr": _Key("stderr", _scalar, "the file for errors; where output goes if not given", _TEXT),
    "cpus": _Key("cpus", _count, "cores for each task", {"type": "integer", "minimum": 1}),
    "memory": _Key(
        "memory",
        lambda node, source: parse_size(_scalar(node, source)),
        "memory for each task: 500M, 2G, or bytes",
        _NUMBER_OR_TEXT,
    ),
    "time": _Key(
        "time_limit",
        lambda node, source: parse_seconds(_scalar(node, source)),
        "the limit of a task's time: 90s, 30m, 2h, or minutes and sbatch's other forms",
        _NUMBER_OR_TEXT,
    ),
    "prepare": _Key(
        "prepare", _one_of(PREPARE_CHOICES), "who pulls and unpacks the image", _chosen(PREPARE_CHOICES)
    ),
    "stage": _Key(
        "stage", _one_of(STAGE_CHOICES), "whence tasks run: the store, or a copy", _chosen(STAGE_CHOICES)
    ),
    "prefetch": _Key("prefetch", _list, "further images that the tasks use", _LIST),
    "usage": _Key("usage", _truth, "whether usage records are kept", {"type": "boolean"}),
    "options": _Key("options", _options, "each batch system's own options, as they are", _OPTIONS),
}
