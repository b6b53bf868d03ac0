"""HTTP to one registry: addresses, TLS, redirects, retries."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Callable, Optional
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3

from udocker.config import Config
from udocker.errors import RegistryError
from udocker.registry import failures, retry
from udocker.registry.later import Later
from udocker.registry.lines import Lines
from udocker.registry.trust import tls_context
from udocker.registry.words import printable

MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ERROR_BODY = 64 << 10
_CHUNK = 256 << 10
# How long a host that may turn out to speak plain HTTP gets to answer a TLS handshake, in seconds.
_PROBE_TIMEOUT = 3.0
_PORTS = {"https": 443, "http": 80}

_log = logging.getLogger(__name__)
_TELL_PAUSES_OVER = 1.5  # seconds


class Transport:
    """Requests to ``registry`` (``host[:port]``), and to where it sends us.

    ``subject`` begins every error's message, as in ``pull: debian:12``.  ``plain`` says that the registry's
    own address is http, ``patience`` for how many seconds at most it may ask us to go away.  ``sleep`` and
    ``clock`` (seconds since the epoch) are for tests.  The proxies and authorities of requests' own
    environment variables are honoured, a netrc file is not: credentials are docker's (``auth.py``).  Threads
    may share a transport: each has connections of its own.
    """

    def __init__(
        self,
        config: Config,
        registry: str,
        subject: str,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        plain: bool = False,
        patience: float = retry.MAX_RETRY_AFTER,
    ) -> None:
        self._config = config
        self._registry = registry
        self.subject = subject
        self._sleep = sleep
        self._clock = clock
        self._lines = Lines(lambda: tls_context(config, registry))
        self._plain = plain
        self._patience = patience
        self._told = Later(str(config.udocker_dir), registry, clock)
        self._is_first = True
        self.lax = self._is_lax(self._address())
        # A lax registry is asked by TLS first, as docker does; the first answer settles the scheme.
        schemes = ("https", "http") if self.lax else ("https",)
        self._schemes: tuple[str, ...] = ("http",) if plain else schemes
        if self.lax:
            # The user has said that this host needs no valid certificate: no warning on each request.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def close(self) -> None:
        """Close every connection."""
        self._lines.close()

    def stop(self) -> None:
        """End what any thread is doing with this transport: it gets a RegistryError, soon."""
        self._lines.cut()

    @property
    def retries(self) -> int:
        """How many times a failed request is repeated."""
        return self._config.registry_retries

    def send(self, method: str, target: str, headers: Mapping[str, str]) -> requests.Response:
        """Ask for ``target``, a path on the registry or a whole URL; the answer's body is yet to be read.

        Follows redirects, and repeats what may succeed later.  The caller closes the response, whose
        status may be anything that is not temporary.  Raises RegistryError.
        """
        attempt = 0
        self._wait_as_told()
        while True:
            wanted: Optional[float] = None
            self.check_stopped()
            try:
                response = self._answer(method, target, headers)
            except failures.NETWORK_ERRORS as error:
                # After a redirect the host that failed is another one; requests notes which.
                url = getattr(getattr(error, "request", None), "url", None) or self._url(target)
                failure = self._unreachable(method, url, error)
            except OSError as error:
                # What requests says of a bundle that is not there, before it asks anybody.
                raise self.error(f"TLS: {printable(str(error))}", "check REQUESTS_CA_BUNDLE") from error
            else:
                if not retry.is_temporary(response.status_code):
                    return response
                failure = self.refused(method, response)
                wanted = retry.retry_after(response.headers.get("Retry-After"), self._clock())
                self._told.note(wanted or 0.0)
            last = attempt >= self.retries and (wanted is None or wanted <= self._patience)
            if not failure.temporary or last:
                raise failure
            self.pause(attempt, failure, wanted)
            attempt += 1

    def _wait_as_told(self) -> None:
        """Before the first request wait until the time that the registry has told others of this store."""
        seconds = self._told.left() if self._is_first else 0.0
        self._is_first = False
        if seconds > 0:
            self.pause(0, self.error("the registry has asked others of this store to wait"), seconds)

    def pause(self, attempt: int, failure: RegistryError, wanted: Optional[float] = None) -> None:
        """Wait before retry number ``attempt``, ``wanted`` seconds if the registry asked for that many.

        Raises ``failure``, with the time to come back, where the registry asks for too long a pause.
        """
        self.check_stopped()
        if wanted is not None and wanted > self._patience:
            raise self._later(failure, wanted)
        seconds = retry.pause_before(attempt) if wanted is None else wanted + retry.pause_before(0)
        # A person who waits for longer than a moment is told what for.
        level = logging.WARNING if seconds > _TELL_PAUSES_OVER else logging.INFO
        _log.log(level, "%s; trying again in %.0f s", failure.message, seconds)
        self._sleep(seconds)

    def refused(self, method: str, response: requests.Response) -> RegistryError:
        """The error for an answer with an unwanted status; reads what the registry says, and closes it."""
        with closing(response):
            try:
                body = self.receive(response, _ERROR_BODY)
            except RegistryError:
                # The status is known already; the words that would explain it are lost.
                body = b""
        return failures.refused(self.subject, method, response.url, response, body)

    def read(
        self, open_answer: Callable[[], requests.Response], limit: int
    ) -> tuple[requests.Response, bytes]:
        """The answer of a GET and its whole body; asks again if it breaks off.

        Raises RegistryError for a status other than 200 and for more than ``limit`` bytes.
        """
        attempt = 0
        while True:
            response = open_answer()
            if response.status_code != 200:
                raise self.refused("GET", response)
            try:
                return response, self._body(response, limit)
            except RegistryError as failure:
                if not failure.temporary or attempt >= self.retries:
                    raise
                self.pause(attempt, failure)
            attempt += 1

    def _body(self, response: requests.Response, limit: int) -> bytes:
        with closing(response):
            if response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
                raise self.error("the registry compressed its answer though asked not to")
            data = b""
            while len(data) <= limit and (more := self.receive(response, min(_CHUNK, limit + 1 - len(data)))):
                data += more
        if len(data) > limit:
            raise self.error(f"the registry's answer is longer than {limit} bytes")
        declared = response.headers.get("Content-Length", "")
        # Older urllib3 takes a body for whole that is shorter than it was said to be.
        if declared.isdecimal() and len(data) < int(declared[:19]):
            raise self.error(
                f"the answer broke off after {len(data)} of {declared[:19]} bytes", temporary=True
            )
        return data

    def receive(self, response: requests.Response, count: int) -> bytes:
        """The next ``count`` bytes of an answer's body, fewer at its end; raises RegistryError."""
        line = self._lines.here()
        try:
            with line.within(self._config.registry_timeout):
                data: bytes = response.raw.read(count, decode_content=False) or b""
        except failures.NETWORK_ERRORS as error:
            raise self._unreachable("GET", response.url, error) from error
        if line.is_late:
            raise failures.too_slow(self.subject, "GET", response.url, self._config.registry_timeout)
        return data

    def _unreachable(self, method: str, url: str, error: failures.NetworkError) -> RegistryError:
        if self._lines.here().is_late:
            return failures.too_slow(self.subject, method, url, self._config.registry_timeout)
        return failures.unreachable(self.subject, method, url, error)

    def check_stopped(self) -> None:
        """Raise RegistryError after ``stop``."""
        if self._lines.is_cut:
            raise self.error("stopped", temporary=True)

    def error(self, cause: str, hint: str = "", status: int = 0, temporary: bool = False) -> RegistryError:
        """A RegistryError about this transport's subject."""
        return RegistryError(f"{self.subject}: {cause}", hint, status=status, temporary=temporary)

    def is_registry(self, url: str) -> bool:
        """Whether ``url`` is on the registry itself, and not where a redirect led."""
        return any(_origin(url) == _origin(f"{scheme}://{self._registry}") for scheme in self._schemes)

    def address(self, path: str) -> str:
        """The whole URL of a path on the registry."""
        return self._url(path)

    def _address(self) -> SplitResult:
        try:
            parts = urlsplit(f"//{self._registry}")
            usable = parts.port != 0
        except ValueError:
            # A port above 65535, or no IPv6 address in its brackets.
            usable = False
        if not usable:
            raise self.error(f"{printable(self._registry, 100)}: not the address of a registry")
        return parts

    def _answer(self, method: str, target: str, headers: Mapping[str, str]) -> requests.Response:
        if not target.startswith("/"):
            return self._follow(method, target, headers)
        *others, last = self._schemes
        for scheme in others:
            try:
                response = self._follow(method, f"{scheme}://{self._registry}{target}", headers)
            except (requests.ConnectionError, requests.Timeout) as error:
                # No TLS there; the host is one where plain HTTP may be tried instead.
                _log.debug("%s: no https: %s", self._registry, printable(str(error)))
            else:
                self._schemes = (scheme,)
                return response
        response = self._follow(method, f"{last}://{self._registry}{target}", headers)
        self._schemes = (last,)
        return response

    def _follow(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        """Send one request and follow its redirects; credentials stay on the host they were meant for."""
        origin = _origin(url)
        for _ in range(MAX_REDIRECTS + 1):
            response = self._once(method, url, headers)
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or location is None:
                return response
            response.close()
            url = self._redirected(url, location)
            if _origin(url) != origin:
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
        raise self.error(f"{failures.host_of(url)}: more than {MAX_REDIRECTS} redirects")

    def _once(self, method: str, url: str, headers: Mapping[str, str]) -> requests.Response:
        parts = urlsplit(url)
        timeout = self._config.registry_timeout
        undecided = len(self._schemes) > 1 and parts.scheme == "https"
        verified = not self._is_lax(parts)
        line = self._lines.here()
        # As long to connect as to answer; an answer's head may not take longer, however it comes.
        with line.within(2 * timeout):
            response = line.session(verified).request(
                method,
                url,
                headers=dict(headers),
                timeout=(min(timeout, _PROBE_TIMEOUT) if undecided else timeout, timeout),
                verify=verified,
                proxies=self._proxies(url, parts.hostname),
                allow_redirects=False,
                stream=True,
            )
        if line.is_late:
            # A head that was broken off counts as whole for the library.
            response.close()
            raise requests.ReadTimeout(request=response.request)
        return response

    def _proxies(self, url: str, host: Optional[str]) -> Optional[dict[str, str]]:
        """What goes through which proxy; None for what the environment says."""
        proxy = self._config.http_proxy
        if proxy and not requests.utils.should_bypass_proxies(url, None):
            return {"http": proxy, "https": proxy}
        # Like in Go's client, and so in docker's, nothing for this machine itself goes to a proxy unasked.
        return {"http": "", "https": ""} if proxy or is_loopback(host) else None

    def _redirected(self, url: str, location: str) -> str:
        """Where ``location`` leads; raises RegistryError where we do not go."""
        try:
            target = urljoin(url, location)
            parts = urlsplit(target)
            usable = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
        except ValueError:
            # Neither a host nor a port can be read from it.
            usable = False
        if not usable:
            raise self.error(f"redirected to {printable(location, 100)!r}: not a web address")
        if parts.scheme == "http" and urlsplit(url).scheme == "https" and not self.lax:
            raise self.error(
                f"{failures.host_of(url)}: redirects from https to plain http ({failures.host_of(target)})",
                "this is refused unless the registry is in UDOCKER_INSECURE_REGISTRIES",
            )
        return target

    def _url(self, target: str) -> str:
        return f"{self._schemes[-1]}://{self._registry}{target}" if target.startswith("/") else target

    def _is_lax(self, parts: SplitResult) -> bool:
        """Whether the user, or docker's custom for loopback, allows this host to be unprotected."""
        host = (parts.hostname or "").lower()
        listed = {name.lower() for name in self._config.insecure_registries}
        named = {host, parts.netloc.rpartition("@")[2].lower()}
        own = self._plain and parts.netloc == self._registry
        return own or self._config.insecure or bool(listed & named) or is_loopback(host)

    def _later(self, failure: RegistryError, seconds: float) -> RegistryError:
        moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(min(self._clock() + seconds, 2**33)))
        return RegistryError(
            f"{failure.message}: it asks to come back in {seconds:.0f} s",
            f"try again after {moment}",
            method=failure.method,
            url=failure.url,
            status=failure.status,
            codes=failure.codes,
            temporary=True,
        )


def is_loopback(host: Optional[str]) -> bool:
    """Whether ``host`` is this machine by its name or address; no look-up is made."""
    if (host or "").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        # A name, or nothing.
        return False


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)
