"""Whether Slurm answers here: for commands that become Slurm's own, which cannot tell of it in our way."""

from __future__ import annotations

from ..errors import SubmitFailed
from ..scheduler import Command, Finished
from .words import words_of

PING = Command(("scontrol", "ping"))
_DAEMON = "Slurmctld("  # one line each, primary and backups: "Slurmctld(primary) at head is DOWN"


def is_up(finished: Finished) -> bool:
    """Whether a controller has answered to PING; raises SubmitFailed where nobody knows of any."""
    daemons = _daemons(finished)
    if finished.status != 0 and not daemons:
        raise _unanswered(words_of(finished))
    return finished.status == 0 or any(line.endswith(" UP") for line in daemons)


def down(finished: Finished) -> SubmitFailed:
    """The error for controllers of which none is up."""
    return _unanswered("; ".join(_daemons(finished)))


def _daemons(finished: Finished) -> list[str]:
    return [line.strip() for line in finished.stdout.splitlines() if line.startswith(_DAEMON)]


def _unanswered(words: str) -> SubmitFailed:
    return SubmitFailed(f"run: slurm: {words}", "sinfo tells whether Slurm answers here")
