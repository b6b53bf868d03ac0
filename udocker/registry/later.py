"""When a registry wants to be asked again, told to all who share a store: ``later/<host>`` in it.

A registry that answers 429 to one node would answer so to the next one, and hold that against them all.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Callable

from udocker.log import Log
from udocker.system.files import discard, unique_name

_LOG = Log(__name__)
# Seconds.  Less is over before another process asks; for more nobody keeps a file.
_SHORTEST, _LONGEST = 1.0, 86400.0


class Later:
    """The time to come back that one registry has told; ``clock`` is in seconds since the epoch.

    Nothing is kept where there is no store, or none that can be written: each then asks for itself.
    """

    def __init__(self, udocker_dir: str, host: str, clock: Callable[[], float]) -> None:
        self._directory = os.path.join(udocker_dir, "later")
        self._path = os.path.join(self._directory, host.replace("/", "_"))
        self._clock = clock

    def note(self, seconds: float) -> None:
        """The registry wants to be left alone for so long."""
        if not _SHORTEST <= seconds <= _LONGEST:
            return
        temporary = os.path.join(self._directory, unique_name(".later-"))
        try:
            if not os.path.isdir(self._directory):
                os.mkdir(self._directory)
                os.chmod(self._directory, os.stat(os.path.dirname(self._directory)).st_mode & 0o2777)
            with open(temporary, "x", encoding="ascii") as file:
                json.dump({"until": self._clock() + seconds, "seconds": seconds}, file)
            os.rename(temporary, self._path)
        except OSError as error:
            discard(Path(temporary))
            _LOG.debug("%s: %s", self._path, error)

    def left(self) -> float:
        """Seconds until the registry may be asked; 0 where nobody has noted a time, or it is over."""
        try:
            with open(self._path, encoding="ascii") as file:
                document = json.load(file)
            # Clocks of nodes differ: never longer than the registry has said.
            return max(
                0.0, min(float(document["until"]) - self._clock(), float(document["seconds"]), _LONGEST)
            )
        except (OSError, ValueError, KeyError, TypeError):
            return 0.0  # none, or one that somebody has damaged: asking is always right
