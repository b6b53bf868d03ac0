"""What one task used: the value that is measured, written, read back and reported."""

from __future__ import annotations

import json
from collections.abc import Mapping

from udocker.api import TYPE_CHECKING, dataclass, field

if TYPE_CHECKING:
    from typing import Any, Optional

FORMAT = 1


@dataclass(frozen=True)
class Usage:
    """One attempt of one task, or of one rank of a step of it.

    Times are seconds (``started`` and ``ended`` since the epoch), memory and I/O bytes; None is "not known".

    ``user_seconds`` and ``system_seconds`` are those of the program and all its descendants.
    ``peak_memory`` is the largest sum of resident sets over the task's processes that was seen, never
    less than the largest single process.  ``read_bytes`` and ``written_bytes`` count what read and write
    calls moved (rchar and wchar of proc(5)); ``storage_*`` what reached or came from storage.
    ``state`` is ``running`` from the start on and ``ended`` once the rest is known, so that a record left
    as running tells of a task that was killed with its hook.  ``prepare`` tells what this task did for the
    image: ``warm`` (nothing), ``waited``, ``prepared``, or ``staged`` (it made its node's copy).
    ``step`` is the batch system's name for the step that a rank belongs to, and ``rank`` its number there.
    """

    job: str
    task: Optional[int]
    attempt: int
    host: str
    image: str
    digest: str
    command: tuple[str, ...]
    state: str
    started: float
    ended: Optional[float] = None
    exit_status: Optional[int] = None
    wall_seconds: Optional[float] = None
    user_seconds: Optional[float] = None
    system_seconds: Optional[float] = None
    peak_memory: Optional[int] = None
    read_bytes: Optional[int] = None
    written_bytes: Optional[int] = None
    storage_read_bytes: Optional[int] = None
    storage_written_bytes: Optional[int] = None
    prepare: str = ""
    prepare_seconds: Optional[float] = None
    pid: int = 0
    scheduler: str = ""
    step: str = ""
    rank: Optional[int] = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One JSON object in one line, with the format's number."""
        return json.dumps({"format": FORMAT, **vars(self)}, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Usage:
        """Read ``to_json``'s form; fields of later versions go into ``extra``.  Raises ValueError."""
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")
        document.pop("format", None)
        known = cls.__annotations__
        try:
            extra = dict(document.pop("extra", None) or {})
            extra.update({name: document.pop(name) for name in list(document) if name not in known})
            document["command"] = tuple(document.get("command") or ())
            return cls(extra=extra, **document)
        except TypeError as error:
            raise ValueError(str(error)) from None
