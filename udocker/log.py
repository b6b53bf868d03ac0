"""What is logged beside results: through ``logging``, which is imported when there is a first message.

It takes as long to import as all of this package's modules that a warm ``udocker run`` needs.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import logging

_FORMAT = "udocker: %(message)s"


def configure(debug: bool) -> None:
    """Send messages to standard error, with ``debug`` those for debugging as well."""
    if debug or "logging" in sys.modules:
        import logging

        logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format=_FORMAT)


def warn_as(program: str) -> None:
    """Where nobody has configured logging, let warnings go to standard error as of this program."""
    import logging

    if not logging.getLogger().hasHandlers():
        logging.basicConfig(level=logging.WARNING, format=f"{program}: %(message)s")


class Log:
    """The logger of a name.  Where nobody has configured logging, warnings go to standard error."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, message: str, *values: object) -> None:
        """For those who look for a fault."""
        if "logging" in sys.modules:  # else nobody has asked for these: see configure
            self._logger().debug(message, *values)

    def warning(self, message: str, *values: object) -> None:
        """What a user should know although all went on."""
        self._logger().warning(message, *values)

    def _logger(self) -> logging.Logger:
        import logging

        logger = logging.getLogger(self._name)
        if not logger.hasHandlers():
            configure(debug=False)
        return logger
