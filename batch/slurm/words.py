"""What Slurm's commands say of a failure, in one line."""

from __future__ import annotations

import re

from ..scheduler import Finished

_PREFIX = re.compile(r"^(?:sbatch|scancel|scontrol): (?:error: |fatal: )?(?:Batch job submission failed: )?")
_FATAL = re.compile(r"^\w+: fatal: ")


def words_of(finished: Finished, none: str = "") -> str:
    """A command's own words, without its name; ``none`` where it had none.

    What was fatal says it all: the lines before lead to that.
    """
    lines = [line.strip() for line in finished.stderr.splitlines() if line.strip()]
    lines = [line for line in lines if _FATAL.match(line)] or lines
    told = "; ".join(_PREFIX.sub("", line) for line in lines)
    return told or none or f"ended with status {finished.status} and no word"
