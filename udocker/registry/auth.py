"""Credentials and tokens: docker's config.json, and the token service that a registry names.

The protocol is that of the distribution project (Docker Registry v2 authentication via central service),
which every registry speaks: a 401 answer names a realm, which gives a token for a scope.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlencode, urlsplit

from udocker.errors import ConfigError, RegistryError
from udocker.model.reference import DOCKER_HUB, DOCKER_HUB_HOST
from udocker.registry.challenge import Challenge, parse_challenges
from udocker.registry.transport import Transport
from udocker.registry.words import printable

_TOKEN_BODY = 1 << 20
_CONFIG_FILE = 1 << 20
# A token goes into a header: one word of visible characters.
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_SCOPE = re.compile(r"[a-z]+(?:\([a-z]+\))?:[A-Za-z0-9._/:-]{1,512}:[a-z*,]*")
_MAX_SCOPES = 4
# The names that docker knows its Hub by; its config.json says https://index.docker.io/v1/.
_HUB_NAMES = frozenset({DOCKER_HUB, DOCKER_HUB_HOST, "index.docker.io"})


@dataclass(frozen=True)
class Credentials:
    """A user's name and password for one registry."""

    user: str
    password: str = field(repr=False)

    @property
    def header(self) -> str:
        """The value of an Authorization header (RFC 7617; in UTF-8, as docker does)."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode("ascii")


def stored_credentials(path: Optional[Path], registry: str) -> Optional[Credentials]:
    """What docker's ``config.json`` holds for ``registry``, or None.

    Raises ConfigError for a file that cannot be read.  Credential helpers are not asked.
    """
    auths = _docker_config(path).get("auths")
    if not isinstance(auths, Mapping):
        return None
    names = _HUB_NAMES if registry in _HUB_NAMES else {registry.lower()}
    for key, entry in auths.items():
        if _host_of_key(key) in names and isinstance(entry, Mapping):
            found = _credentials(entry, f"configuration: {path}: auths: {key}")
            if found is not None:
                return found
    return None


class Authorizer:
    """The Authorization header for one repository's requests; safe to share between threads."""

    def __init__(self, transport: Transport, registry: str, repository: str, docker_config: Optional[Path]):
        self._transport = transport
        self._registry = registry
        self._default_scope = f"repository:{repository}:pull"
        self._docker_config = docker_config
        self._lock = threading.Lock()
        self._tokens: dict[tuple[str, str, str], str] = {}
        self._header = ""

    def headers(self) -> dict[str, str]:
        """The headers that authorize a request: none before the registry has asked for some."""
        return {"Authorization": self._header} if self._header else {}

    def answer(self, challenge: str, refused: Mapping[str, str]) -> dict[str, str]:
        """The headers that answer a WWW-Authenticate header, after ``refused`` ones were not enough.

        Raises RegistryError where there is nothing (else) to offer.
        """
        with self._lock:
            if self.headers() != dict(refused):
                # Another thread has got a newer token while this one's request was under way.
                return self.headers()
            challenges = {item.scheme: item for item in reversed(parse_challenges(challenge))}
            if "bearer" in challenges:
                self._header = "Bearer " + self._token(challenges["bearer"], refused.get("Authorization", ""))
            elif "basic" in challenges:
                self._header = self._basic(refused)
            else:
                offered = printable(challenge, 100) or "none"
                raise self._transport.error(f"{self._registry}: unknown way of authentication: {offered}")
            return self.headers()

    def _basic(self, refused: Mapping[str, str]) -> str:
        credentials = self._credentials()
        if credentials is None:
            raise self._transport.error(
                f"{self._registry}: a password is needed", self._login_hint(), status=401
            )
        if refused.get("Authorization") == credentials.header:
            raise self._transport.error(
                f"{self._registry}: the password of user {printable(credentials.user)!r} is refused",
                f"log in again: docker login {self._registry}",
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
        query += [("scope", word) for word in scope.split(" ")]
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
        return f"is the password of {printable(credentials.user)!r} right? docker login {self._registry}"

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
        named = [word.rpartition(":")[0] + ":pull" for word in words if _SCOPE.fullmatch(word)]
        return " ".join(sorted(set(named))[:_MAX_SCOPES]) or self._default_scope

    def _credentials(self) -> Optional[Credentials]:
        return stored_credentials(self._docker_config, self._registry)

    def _login_hint(self) -> str:
        settings = _docker_config(self._docker_config)
        if settings.get("credsStore") or settings.get("credHelpers"):
            return (
                f"{self._docker_config} leaves passwords to a credential helper, which is not supported: "
                f"make a config.json with {self._registry} in auths, and set DOCKER_CONFIG to its directory"
            )
        return f"check the name; for a private image log in first: docker login {self._registry}"


def _docker_config(path: Optional[Path]) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(_CONFIG_FILE))
    except (FileNotFoundError, NotADirectoryError):
        # Nobody has logged in on this machine.
        return {}
    except OSError as error:
        hint = "set DOCKER_CONFIG to another directory"
        raise ConfigError(f"configuration: {path}: {error.strerror}", hint) from error
    except (ValueError, RecursionError):
        raise ConfigError(f"configuration: {path}: not JSON", "docker login writes this file") from None
    if not isinstance(document, dict):
        raise ConfigError(f"configuration: {path}: not a JSON object", "docker login writes this file")
    return document


def _host_of_key(key: str) -> str:
    """The host that a key of ``auths`` stands for; empty for a key that names part of a registry only."""
    host, _, path = key.partition("://")[2 if "://" in key else 0].partition("/")
    return host.lower() if path.strip("/") in ("", "v1", "v2") else ""


def _credentials(entry: Mapping[str, Any], what: str) -> Optional[Credentials]:
    encoded = entry.get("auth")
    if not encoded:
        name, secret = entry.get("username"), entry.get("password")
        if isinstance(name, str) and isinstance(secret, str) and name:
            return Credentials(name, secret)
        return None
    try:
        decoded = base64.b64decode(str(encoded), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        # Reported below, like a text without a colon.
        decoded = ""
    user, colon, password = decoded.partition(":")
    if not colon:
        raise ConfigError(f"{what}: auth is not base64 of user:password", "log in again (docker login)")
    # docker pads with NUL bytes in files written by old versions.
    return Credentials(user, password.strip("\0"))
