"""Whether a registry takes a user's password."""

from __future__ import annotations

import logging

from udocker.config import Config
from udocker.errors import RegistryError
from udocker.registry.credentials import Credentials
from udocker.registry.endpoint import Endpoint
from udocker.registry.session import RegistrySession
from udocker.registry.words import printable

_LARGEST_ANSWER = 64 << 10
_HINT = "check both; some registries want an access token in the password's place"

_log = logging.getLogger(__name__)


def check_login(config: Config, registry: str, credentials: Credentials) -> None:
    """Return where ``registry`` takes the credentials; raises RegistryError where it refuses them."""
    subject = f"login: {registry}"
    with RegistrySession(config, Endpoint(registry), subject, "", credentials) as session:
        asked = session.transport.send("GET", "/v2/", {})
        asked.close()
        if asked.status_code == 200:
            _log.warning("%s: it asks for no password here, so this one could not be checked", subject)
            return
        try:
            session.transport.read(lambda: session.open("GET", "/v2/"), _LARGEST_ANSWER)
        except RegistryError as failure:
            if failure.status not in (401, 403):
                raise
            cause = f"name or password of user {printable(credentials.user, 100)!r} refused"
            raise RegistryError(f"{subject}: {cause}", _HINT, status=failure.status) from failure
