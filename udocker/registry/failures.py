"""From what went wrong on the network to one line for the user."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Optional, Union
from urllib.parse import urlsplit

import requests

# PySocks, with which requests goes through SOCKS proxies.
import socks

# requests hands the errors of a streamed body through as urllib3's own.
import urllib3

from udocker.errors import RegistryError
from udocker.registry.retry import is_temporary
from udocker.registry.words import printable, server_words

NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)
NetworkError = Union[requests.RequestException, urllib3.exceptions.HTTPError]

_HINT_CA = (
    "if its certificate is signed by a private authority put the authority's file into "
    "~/.config/containers/certs.d/HOST:PORT/ca.crt or set SSL_CERT_FILE; "
    "if it is to be trusted all the same add it to UDOCKER_INSECURE_REGISTRIES"
)
_HINT_TLS = "if it speaks plain HTTP only, add it to UDOCKER_INSECURE_REGISTRIES"
_HINT_TIMEOUT = "UDOCKER_REGISTRY_TIMEOUT sets how long to wait"
_HINT_PROXY = "check --httpproxy, HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
_BAD_REQUEST = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
    urllib3.exceptions.LocationValueError,
)
_HINT_LOGIN = "check the name; for a private image log in first: udocker login"

# The first class that occurs in an error's chain of causes decides.
_CAUSES: tuple[tuple[type[BaseException], str, str], ...] = (
    *((kind, "the proxy does not reach it", "") for kind in (socks.SOCKS5Error, socks.SOCKS4Error)),
    *(
        (kind, "the proxy cannot be used", _HINT_PROXY)
        for kind in (requests.exceptions.ProxyError, socks.ProxyError)
    ),
    (ssl.SSLCertVerificationError, "its TLS certificate is not trusted", _HINT_CA),
    (ssl.SSLError, "TLS failed", _HINT_TLS),
    (socket.gaierror, "host name not found", "check the name of the registry, and this machine's DNS"),
    (ConnectionRefusedError, "connection refused", "is the registry running, and is the port right?"),
    (requests.exceptions.ConnectTimeout, "no connection in time", "is a firewall or a proxy in between?"),
    (requests.exceptions.Timeout, "no answer in time", _HINT_TIMEOUT),
    (urllib3.exceptions.TimeoutError, "no answer in time", _HINT_TIMEOUT),
    *((kind, "not an address that can be asked", "") for kind in _BAD_REQUEST),
)
# Failures that the next try would only repeat; an interrupted TLS connection may do better.
_LASTING = (ssl.SSLCertVerificationError, socks.SOCKS5AuthError, *_BAD_REQUEST)

# What an error code means for somebody who pulls, and what to do (OCI distribution, Error Codes).
_CODES = {
    "MANIFEST_UNKNOWN": ("no such tag or digest there", "check the tag, and the name"),
    "NAME_UNKNOWN": ("no such repository", "check the name"),
    "NAME_INVALID": ("the registry does not take this name", "check the name"),
    "BLOB_UNKNOWN": ("the registry has lost a part of this image", "the image must be pushed again"),
    "UNAUTHORIZED": ("no such repository, or no access to it", _HINT_LOGIN),
    "DENIED": ("no such repository, or no access to it", _HINT_LOGIN),
    "TOOMANYREQUESTS": ("too many requests", "log in (udocker login) for a higher limit, or try later"),
}
_STATUSES = {
    401: _CODES["UNAUTHORIZED"],
    403: _CODES["DENIED"],
    404: ("not found", "check the name and the tag"),
    407: ("the proxy asks for a password", "write it into HTTPS_PROXY"),
    429: _CODES["TOOMANYREQUESTS"],
}
_SERVER_FAILED = ("the registry failed", "try again later")


def unreachable(subject: str, method: str, url: str, error: NetworkError) -> RegistryError:
    """The error for a request that got no answer, or an answer that broke off."""
    chain = list(_chain(error))
    cause, hint = "the connection failed", ""
    for kind, text, advice in _CAUSES:
        if any(isinstance(item, kind) for item in chain):
            cause, hint = text, advice
            break
    words = _words(chain)
    if words.lower() == cause:
        words = ""
    lasting = any(isinstance(item, _LASTING) or _unknown_host(item) for item in chain)
    return RegistryError(
        f"{subject}: {host_of(url)}: {cause}" + (f": {words}" if words else ""),
        hint,
        method=method,
        url=without_query(url),
        temporary=not lasting,
    )


def too_slow(subject: str, method: str, url: str, seconds: float) -> RegistryError:
    """The error for an answer that came so slowly that it was not waited for."""
    return RegistryError(
        f"{subject}: {host_of(url)}: it sends next to nothing for {seconds:g} s",
        _HINT_TIMEOUT,
        method=method,
        url=without_query(url),
        temporary=True,
    )


def refused(subject: str, method: str, url: str, response: requests.Response, body: bytes) -> RegistryError:
    """The error for an answer whose status is not the wanted one; keeps the registry's own words."""
    status = response.status_code
    codes, words = server_words(body)
    # A manifest named this blob, so a registry that does not have it is at fault, not the name.
    plain = _CODES["BLOB_UNKNOWN"] if status == 404 and "/blobs/" in url else _STATUSES.get(status)
    known = next((_CODES[code] for code in codes if code in _CODES), plain)
    cause, hint = known or (_SERVER_FAILED if status >= 500 else (f"unexpected answer {status}", ""))
    said = words or printable(response.reason or "", 80)
    return RegistryError(
        f"{subject}: {host_of(url)}: {cause}: {status} {said}".rstrip(),
        hint,
        method=method,
        url=without_query(url),
        status=status,
        codes=codes,
        temporary=is_temporary(status),
    )


def host_of(url: str) -> str:
    """Host and port of ``url``, printable."""
    return printable(urlsplit(url).netloc.rpartition("@")[2], 100)


def without_query(url: str) -> str:
    """``url`` without its query: that of a redirect to a storage service is a credential."""
    return printable(url.partition("?")[0], 300)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Every exception that ``error`` wraps, by any of the ways that urllib3's versions do it."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        item = waiting.pop(0)
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        waiting += [getattr(item, "reason", None), item.__cause__, item.__context__, *item.args]


def _words(chain: list[BaseException]) -> str:
    """The system's own words: those of the innermost error that has some."""
    for item in reversed(chain):
        if isinstance(item, ssl.SSLCertVerificationError):
            return printable(str(item.verify_message))
        if isinstance(item, OSError) and isinstance(item.strerror, str):
            return printable(item.strerror)
    innermost: Optional[BaseException] = chain[-1] if chain else None
    return printable(str(innermost)) if innermost is not None else ""


def _unknown_host(error: BaseException) -> bool:
    """Whether the name service answered, and knows no such host; EAI_AGAIN means that it did not answer."""
    return isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN
