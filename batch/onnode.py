"""What job scripts and steps call on a node: ``udocker-batch task`` and ``udocker-batch rank``."""

from __future__ import annotations

import os
import signal
import sys

from udocker import api

from .errors import InvalidJob, failure_lines
from .taskspec import VARIABLE, TaskSpec

if api.TYPE_CHECKING:
    from collections.abc import Callable


def _task(config: api.Config, spec: TaskSpec) -> int:
    from .task import run_task

    return run_task(config, spec, os.environ)


def _rank(config: api.Config, spec: TaskSpec) -> int:
    from .rank import run_rank

    run_rank(config, spec, os.environ)


ACTS: dict[str, Callable[[api.Config, TaskSpec], int]] = {"task": _task, "rank": _rank}


def main(act: str) -> int:
    """Do one of ACTS, which have no arguments: all comes by the environment.  Returns the exit status."""
    return told(lambda: ACTS[act](api.Config.from_environment(os.environ), _carried(act)))


def told(act: Callable[[], int]) -> int:
    """The exit status of a command, whose failure is told on standard error."""
    try:
        try:
            return act()
        finally:
            api.flush_output()
    except api.UdockerError as error:
        print(failure_lines("udocker-batch", error), file=sys.stderr)
        return error.exit_status
    except OSError as error:
        print(failure_lines("udocker-batch", api.from_os_error("udocker-batch", error)), file=sys.stderr)
        return api.UdockerError.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _carried(act: str) -> TaskSpec:
    text = os.environ.pop(VARIABLE, "")
    if not text:
        raise InvalidJob(f"{act}: {VARIABLE} is not set", "this command is for job scripts")
    return TaskSpec.from_json(text)
