"""Errors of the batch integration, below ``udocker.errors.UdockerError``.

::

    BatchError
      InvalidJob         a job file or command line that makes no job
      SubmitFailed       the batch system refused the job
      JobUnknown         no such job, here or at the batch system
      WaitTimeout        a job did not end in the time that was given
      SchedulerMissing   the batch system's commands are not on this machine
"""

from __future__ import annotations

from udocker.api import UdockerError


class BatchError(UdockerError):
    """A failure of the batch integration."""


class InvalidJob(BatchError):
    """A job file or command line that makes no job."""


class SubmitFailed(BatchError):
    """The batch system refused the job, in its own words."""


class JobUnknown(BatchError):
    """No such job."""


class WaitTimeout(BatchError):
    """A job did not end in the time that was given."""


class SchedulerMissing(BatchError):
    """The batch system's commands are not on this machine."""


def failure_lines(program: str, error: UdockerError) -> str:
    """A failure for the terminal: one line, and one for its hint."""
    lines = [f"{program}: {_printable(error.message)}"]
    if error.hint:
        lines.append(f"  hint: {_printable(error.hint)}")
    return "\n".join(lines)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
