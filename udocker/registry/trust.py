"""Which certificates a registry may show: those of this system's authorities, and of private ones.

Private authorities are where docker and podman have them: ``certs.d/HOST[:PORT]/*.crt``, with the client's
own certificate beside them in ``*.cert`` and its key in ``*.key`` (docker's documentation, "Verify
repository client with certificates"; containers-certs.d(5)).
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator
from pathlib import Path

from urllib3.util.ssl_ import create_urllib3_context

from udocker.config import Config
from udocker.errors import ConfigError
from udocker.registry.credentials import HUB_NAMES

_log = logging.getLogger(__name__)


def tls_context(config: Config, registry: str) -> ssl.SSLContext:
    """What connections for ``registry`` are made with; requests adds its own authorities to it.

    OpenSSL reads SSL_CERT_FILE and SSL_CERT_DIR.  Raises ConfigError for a file that cannot be used.
    """
    context = create_urllib3_context()
    context.load_default_certs()
    for directory in _directories(config, registry):
        for path in directory:
            _load(context, path)
    return context


def _directories(config: Config, registry: str) -> Iterator[list[Path]]:
    names = sorted(HUB_NAMES) if registry in HUB_NAMES else [registry]
    for base in config.certificate_dirs:
        for name in names:
            try:
                yield sorted(Path(base, name).iterdir())
            except (FileNotFoundError, NotADirectoryError):
                continue  # the usual case: no authority of this registry's own
            except OSError as error:
                # Made for root's docker alone: not for us, and a certificate that lacks it will be refused.
                _log.debug("configuration: %s: %s", Path(base, name), error.strerror)


def _load(context: ssl.SSLContext, path: Path) -> None:
    try:
        if path.suffix == ".crt":
            context.load_verify_locations(path)
        elif path.suffix == ".cert":
            context.load_cert_chain(path, path.with_suffix(".key"))
    except ssl.SSLError:
        raise ConfigError(f"configuration: {path}: not a certificate in PEM", "or no key beside it") from None
    except OSError as error:
        raise ConfigError(f"configuration: {path}: {error.strerror}", "make it readable") from error
