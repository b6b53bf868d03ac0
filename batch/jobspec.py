"""One job, whatever the batch system: the value that every front end makes and every back end takes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Optional

from .errors import InvalidJob

PREPARE_CHOICES = ("first", "submit", "job")
STAGE_CHOICES = ("shared", "node")
MAX_TASKS = 1_000_000
_TEXTS = ("image", "container", "mode", "script", "name", "workdir", "user", "directory", "stdout", "stderr")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", re.ASCII)


@dataclass(frozen=True)
class ArraySpec:
    """The indices of an array, ascending, and how many may run at once (0: no limit)."""

    text: str
    indices: tuple[int, ...]
    limit: int = 0

    @classmethod
    def parse(cls, text: str) -> ArraySpec:
        """Read sbatch's syntax, ``0-15:4%2`` or ``1,3,5`` (sbatch(1), --array); raises InvalidJob."""
        ranges, percent, limit = text.partition("%")
        if percent and not (re.fullmatch(r"\d{1,9}", limit, re.ASCII) and int(limit) > 0):
            raise _bad_array(text, f"limit {limit!r} is not a number above 0")
        indices: set[int] = set()
        for part in ranges.split(","):
            indices.update(_indices(text, part))
            if len(indices) > MAX_TASKS:
                raise _bad_array(text, f"more than {MAX_TASKS} tasks")
        return cls(text, tuple(sorted(indices)), int(limit) if percent else 0)

    @classmethod
    def parse_if_able(cls, text: str) -> Optional[ArraySpec]:
        """The same for counting tasks; None for what is left to the batch system to judge."""
        try:
            return cls.parse(text)
        except InvalidJob:
            return None

    @property
    def step(self) -> int:
        """The distance of the first two indices, 1 for a single one, as SLURM_ARRAY_TASK_STEP."""
        return self.indices[1] - self.indices[0] if len(self.indices) > 1 else 1


@dataclass(frozen=True)
class JobSpec:
    """A command in an image, once or as an array.

    ``image`` is a reference; after submission it is pinned to a digest.  ``container`` names one that is
    there already instead.  ``mode`` is the execution mode, where it is not left to the node.  ``script`` is
    the text of a script that runs in the container, with ``command`` as its arguments; ``directives`` are
    comments of the batch system for the head of the job script.  ``nvidia`` shows the node's driver for its
    GPUs.  ``mounts`` and ``env`` are docker's ``SOURCE[:TARGET][:ro]`` and (name, value).  ``workdir`` is a
    directory in the container, ``directory`` the job's own on the host, where its output files go.
    ``cpus`` and ``memory`` (bytes) are for one task, ``time_limit`` is in seconds; 0 leaves each to the batch
    system.  ``stage`` says whence tasks run: from the ``shared`` store, or from a copy on each ``node``.
    ``prefetch`` are further images that the tasks use, prepared with the first.  ``options`` are handed to
    the batch system's submit command as they are.
    """

    image: str = ""
    command: tuple[str, ...] = ()
    name: str = ""
    array: Optional[ArraySpec] = None
    mounts: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    user: str = ""
    entrypoint: Optional[tuple[str, ...]] = None
    container: str = ""
    mode: str = ""
    nvidia: bool = False
    script: str = ""
    directives: tuple[str, ...] = ()
    directory: str = ""
    stdout: str = ""
    stderr: str = ""
    cpus: int = 0
    memory: int = 0
    time_limit: int = 0
    prepare: str = "first"
    stage: str = "shared"
    prefetch: tuple[str, ...] = ()
    usage: bool = True
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.image and not self.container:
            raise InvalidJob("job: image: missing", "name the image to run, as in --image debian:12")
        if self.image and self.container:
            raise InvalidJob("job: image, container: both given", "leave one of them out")
        for field, choices in (("prepare", PREPARE_CHOICES), ("stage", STAGE_CHOICES)):
            if getattr(self, field) not in choices:
                known = ", ".join(choices)
                raise InvalidJob(f"job: {field}: {getattr(self, field)!r}: unknown", f"one of {known}")
        self._check_texts()
        if self.workdir and not self.workdir.startswith("/"):
            hint = "name a directory of the container from its root on, as in /work"
            raise InvalidJob(f"job: workdir: {self.workdir!r}: not an absolute path", hint)
        for line in self.directives:
            if not line.startswith("#") or "\n" in line:
                raise InvalidJob(f"job: directive {line!r}: not a line of comment")

    def _check_texts(self) -> None:
        for field, values in self._texts():
            if any("\0" in value for value in values):
                raise InvalidJob(f"job: {field}: holds a NUL byte, which no program can receive")
            for value in values:
                _check_encodable(field, value)
        for name, _ in self.env:
            if not name or "=" in name:
                raise InvalidJob(
                    f"job: env: {name!r}: not a variable's name", "it has no =, and is not empty"
                )

    def _texts(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        yield "command", self.command
        yield "mounts", self.mounts
        yield "env", tuple(part for pair in self.env for part in pair)
        yield "options", self.options
        yield "prefetch", self.prefetch
        yield "entrypoint", self.entrypoint or ()
        yield "directives", self.directives
        for field in _TEXTS:
            yield field, (getattr(self, field),)


def _check_encodable(field: str, value: str) -> None:
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        raise InvalidJob(f"job: {field}: {value!r}: {error.reason}, no program can receive it") from None


def _indices(text: str, part: str) -> range:
    match = _RANGE.fullmatch(part)
    if match is None:
        raise _bad_array(text, f"{part!r} is not an index or a range")
    first = int(match[1])
    last = int(match[2]) if match[2] is not None else first
    step = int(match[3]) if match[3] is not None else 1
    if last < first or step < 1:
        raise _bad_array(text, f"{part!r} is empty")
    if (last - first) // step >= MAX_TASKS:
        raise _bad_array(text, f"more than {MAX_TASKS} tasks")
    return range(first, last + 1, step)


def _bad_array(text: str, cause: str) -> InvalidJob:
    return InvalidJob(f"array: {text!r}: {cause}", "as in 0-39, 1,3,5 or 0-999:10%50")
