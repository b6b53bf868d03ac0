"""What is written down of a program that runs in a container."""

from __future__ import annotations

from collections.abc import Mapping

from udocker.system.process import ProcessIdentity
from udocker.values import TYPE_CHECKING, dataclass, replace

if TYPE_CHECKING:
    from typing import Any, Optional

RUN, EXEC, TASK = "run", "exec", "task"


@dataclass(frozen=True)
class RunRecord:
    """One run of a container, one program that joined a run, or a batch system's task in it (``kind``).

    ``keeper`` is the process that ends when the run does: the program itself, or who waits for it.
    ``program`` is None until it starts.  ``argv`` and ``env`` are the launch, in ``mode``; ``ports`` are
    those that the program binds and those of the host in their place, as ``80/tcp`` and ``0.0.0.0:8080``.
    ``began`` and ``ended`` are in seconds since 1970, the latter 0 while it runs; ``status`` is the exit
    status, None where nobody was told.  With ``remove`` the container goes when the run ends.
    """

    container: str
    directory: str
    kind: str
    mode: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    keeper: ProcessIdentity
    program: Optional[ProcessIdentity]
    began: float
    ports: tuple[tuple[str, str], ...] = ()
    remove: bool = False
    ended: float = 0.0
    status: Optional[int] = None

    @property
    def command(self) -> tuple[str, ...]:
        """What runs in the container: the launchers' first ``--`` stands before it."""
        return self.argv[self.argv.index("--") + 1 :] if "--" in self.argv else self.argv

    def started(self, program: ProcessIdentity) -> RunRecord:
        """The same with its program."""
        return replace(self, program=program)

    def to_json(self) -> Mapping[str, Any]:
        """A JSON object's content."""
        value: dict[str, Any] = dict(self.__dict__)
        for name in ("keeper", "program"):
            value[name] = value[name] and dict(value[name].to_json())
        return value

    @classmethod
    def from_json(cls, value: Any) -> RunRecord:
        """Read ``to_json``'s form; raises ValueError."""
        try:
            program, status = value["program"], value["status"]
            return cls(
                container=str(value["container"]),
                directory=str(value["directory"]),
                kind=str(value["kind"]),
                mode=str(value["mode"]),
                argv=tuple(map(str, value["argv"])),
                env={str(name): str(text) for name, text in value["env"].items()},
                keeper=ProcessIdentity.from_json(value["keeper"]),
                program=None if program is None else ProcessIdentity.from_json(program),
                began=float(value["began"]),
                ports=tuple((str(inner), str(outer)) for inner, outer in value["ports"]),
                remove=bool(value["remove"]),
                ended=float(value["ended"]),
                status=None if status is None else int(status),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the record of a run: {error}") from None
