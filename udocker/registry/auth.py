"""Authorization: a password or a token of the service that a registry names.

The protocol is that of the distribution project (Docker Registry v2 authentication via central service),
which every registry speaks: a 401 answer names a realm, which gives a token for a scope.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from typing import Callable, NamedTuple, Optional
from urllib.parse import urlencode, urlsplit

from udocker.errors import RegistryError
from udocker.registry.challenge import Challenge, parse_challenges
from udocker.registry.credentials import Credentials
from udocker.registry.transport import Transport
from udocker.registry.words import printable

_TOKEN_BODY = 1 << 20
# A token goes into a header: one word of visible characters.
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_SCOPE = re.compile(r"[a-z]+(?:\([a-z]+\))?:[A-Za-z0-9._/:-]{1,512}:[a-z*,]*")
_MAX_SCOPES = 4
CATALOG_SCOPE = "registry:catalog:*"


class Answer(NamedTuple):
    """Headers that authorize a request; one that ``is_new`` has not been tried by anybody."""

    headers: dict[str, str]
    is_new: bool


class Authorizer:
    """The Authorization header for requests to one registry; safe to share between threads.

    ``scope`` is what a token is asked for, empty for a login alone; ``find`` gives the user's credentials.
    """

    def __init__(
        self, transport: Transport, registry: str, scope: str, find: Callable[[], Optional[Credentials]]
    ) -> None:
        self._transport = transport
        self._registry = registry
        self._default_scope = scope
        self._find = find
        self._found: Optional[tuple[Optional[Credentials]]] = None
        self._lock = threading.Lock()
        self._tokens: dict[tuple[str, str, str], str] = {}
        self._header = ""

    def headers(self) -> dict[str, str]:
        """The headers that authorize a request: none before the registry has asked for some."""
        return {"Authorization": self._header} if self._header else {}

    def answer(self, challenge: str, refused: Mapping[str, str]) -> Answer:
        """What answers a WWW-Authenticate header, after ``refused`` headers were not enough.

        Raises RegistryError where there is nothing (else) to offer.
        """
        with self._lock:
            if self.headers() != dict(refused):
                # Another thread has got a newer token while this one's request was under way.
                return Answer(self.headers(), is_new=False)
            challenges = {item.scheme: item for item in reversed(parse_challenges(challenge))}
            if "bearer" in challenges:
                self._header = "Bearer " + self._token(challenges["bearer"], refused.get("Authorization", ""))
            elif "basic" in challenges:
                self._header = self._basic(refused)
            else:
                offered = printable(challenge, 100) or "none"
                raise self._transport.error(f"{self._registry}: unknown way of authentication: {offered}")
            return Answer(self.headers(), is_new=True)

    def _basic(self, refused: Mapping[str, str]) -> str:
        credentials = self._credentials()
        if credentials is None:
            raise self._transport.error(
                f"{self._registry}: a password is needed", self._login_hint(), status=401
            )
        if refused.get("Authorization") == credentials.header:
            raise self._transport.error(
                f"{self._registry}: the password of user {printable(credentials.user)!r} is refused",
                f"log in again: {_login(self._registry)}",
                status=401,
            )
        return credentials.header

    def _token(self, challenge: Challenge, refused: str) -> str:
        """A token for the challenge: one in hand, unless it is the one just refused, or a new one."""
        realm = self._realm(challenge)
        key = (realm, challenge.parameters.get("service", ""), self._scope(challenge))
        known = self._tokens.get(key)
        if known is None or f"Bearer {known}" == refused:
            known = self._tokens[key] = self._fetch(*key)
        return known

    def _fetch(self, realm: str, service: str, scope: str) -> str:
        query = [("service", service)] if service else []
        query += [("scope", word) for word in scope.split()]
        credentials = self._credentials()
        if credentials is not None:
            query.append(("account", credentials.user))
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        headers = {} if credentials is None else {"Authorization": credentials.header}
        try:
            _, body = self._transport.read(lambda: self._transport.send("GET", url, headers), _TOKEN_BODY)
        except RegistryError as failure:
            if failure.status in (400, 401, 403):
                failure.hint = self._refused_hint(credentials)
            raise
        return self._read_token(body)

    def _read_token(self, body: bytes) -> str:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        fields = document if isinstance(document, dict) else {}
        token = fields.get("token") or fields.get("access_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise self._transport.error(f"{self._registry}: its token service's answer holds no token")
        return token

    def _refused_hint(self, credentials: Optional[Credentials]) -> str:
        if credentials is None:
            return self._login_hint()
        return f"is the password of {printable(credentials.user)!r} right? {_login(self._registry)}"

    def _realm(self, challenge: Challenge) -> str:
        """Where tokens are; https, but for registries that are allowed plain HTTP themselves."""
        realm = challenge.parameters.get("realm", "").partition("#")[0]
        allowed = ("https", "http") if self._transport.lax else ("https",)
        try:
            parts = urlsplit(realm)
            usable = parts.scheme in allowed and bool(parts.hostname) and parts.port != 0
        except ValueError:
            # Not even a host and port can be read from it.
            usable = False
        if not usable or not realm.isprintable() or " " in realm:
            cause = f"{self._registry}: its token service has no https address: {printable(realm, 100)!r}"
            raise self._transport.error(cause, "passwords are not sent there")
        return realm

    def _scope(self, challenge: Challenge) -> str:
        """What to ask a token for: what the registry names, but never more than reading it.

        A registry in front of another may know a repository by a second name, so its word is taken;
        its actions are not, or a registry could get a token that writes to the user's repositories.
        """
        words = challenge.parameters.get("scope", "").split()
        if self._default_scope == CATALOG_SCOPE:
            return CATALOG_SCOPE  # the list of repositories, which has no action of its own for reading
        named = [word.rpartition(":")[0] + ":pull" for word in words if _SCOPE.fullmatch(word)]
        return " ".join(sorted(set(named))[:_MAX_SCOPES]) or self._default_scope

    def _credentials(self) -> Optional[Credentials]:
        """The user's credentials, looked for once: a helper may take its time."""
        if self._found is None:
            self._found = (self._find(),)
        return self._found[0]

    def _login_hint(self) -> str:
        return f"check the name; for a private image log in first: {_login(self._registry)}"


def _login(registry: str) -> str:
    return f"udocker login --registry={registry}"
