"""What goes over the wire: retries, redirects, TLS, and who gets to see credentials."""

from __future__ import annotations

import email.utils
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.services import faulty_registry as faulty
from tests.services.faulty_registry import FaultyRegistry
from tests.services.faulty_server import FaultyHandler
from udocker.config import Config
from udocker.errors import RegistryError
from udocker.registry import retry
from udocker.registry.transport import Transport, is_loopback

NOW = 1_700_000_000.0


@pytest.fixture
def registry() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as service:
        yield service


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command to make a certificate: install the package openssl")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        + ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    cert.write_text(key.read_text() + cert.read_text())
    return str(cert)


class Wire:
    """A transport to ``host`` that writes its pauses down."""

    def __init__(self, host: str, **settings: Any) -> None:
        self.pauses: list[float] = []
        values = {"registry_retries": 3, "registry_timeout": 5.0, "udocker_dir": Path("/nowhere"), **settings}
        config = Config(**values)
        self.transport = Transport(config, host, "pull: app:1", self.pauses.append, lambda: NOW)

    def get(self, target: str = "/v2/", **headers: str) -> int:
        response = self.transport.send("GET", target, headers)
        response.close()
        return response.status_code


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504, 408])
def test_temporary_failure_is_repeated(registry, code):
    registry.fail(".*", faulty.status(code), times=2)
    wire = Wire(registry.host)
    assert wire.get() == 200
    assert len(wire.pauses) == 2
    assert wire.pauses[0] < wire.pauses[1] or wire.pauses[1] >= 0.5


@pytest.mark.parametrize("code", [400, 404, 418, 501])
def test_lasting_failure_is_not_repeated(registry, code):
    registry.fail(".*", faulty.status(code))
    assert Wire(registry.host).get() == code
    assert len(registry.requests) == 1


def test_connection_dropped_without_an_answer_is_tried_again(registry):
    wire = Wire(registry.host)
    assert wire.get() == 200
    registry.fail(".*", faulty.drop(), times=2)
    assert wire.get() == 200
    assert len(wire.pauses) == 2


def test_retry_after_is_honoured_in_seconds_and_as_a_date(registry):
    date = email.utils.formatdate(NOW + 60, usegmt=True)
    registry.fail(".*", faulty.status(429, Retry_After="7"), times=1)
    wire = Wire(registry.host)
    assert wire.get() == 200
    registry.fail(".*", faulty.status(503, Retry_After=date), times=1)
    assert wire.get() == 200
    assert 7 <= wire.pauses[0] < 8
    assert 60 <= wire.pauses[1] < 61


def test_others_of_the_store_leave_a_registry_alone_for_as_long_as_it_has_asked(registry, tmp_path):
    registry.fail(".*", faulty.status(429, Retry_After="60"), times=1)
    first, second = (Wire(registry.host, udocker_dir=tmp_path) for _ in range(2))
    assert first.get() == second.get() == 200
    assert 60 <= first.pauses[0] < 61
    assert [60 <= pause < 61 for pause in second.pauses] == [True]  # the clock of these tests stands still
    assert second.get() == 200
    assert len(second.pauses) == 1
    hasty = Transport(Config(str(tmp_path)), registry.host, "pull: app:1", clock=lambda: NOW, patience=5.0)
    with pytest.raises(RegistryError, match="others of this store to wait: it asks to come back in 60 s"):
        hasty.send("GET", "/v2/", {})
    later = Wire(registry.host, udocker_dir=tmp_path)
    (noted,) = (tmp_path / "later").iterdir()
    for text in ('{"until": 1, "seconds": 60}', "damaged", '{"until": 1e99, "seconds": "x"}', "[]"):
        noted.write_text(text)
        assert Wire(registry.host, udocker_dir=tmp_path).get() == 200
    assert later.get() == 200
    assert later.pauses == []


def test_too_long_a_pause_is_an_error_that_says_when_to_come_back(registry):
    registry.fail(".*", faulty.status(429, b"slow down", Retry_After="3600"))
    wire = Wire(registry.host)
    with pytest.raises(RegistryError, match="slow down: it asks to come back in 3600 s") as caught:
        wire.get()
    assert caught.value.hint == "try again after 2023-11-14 23:13:20 UTC"
    assert caught.value.temporary
    assert wire.pauses == []


def test_registry_that_keeps_failing_is_given_up_with_its_words(registry):
    registry.fail(".*", faulty.errors(503, "UNAVAILABLE", "disk on \x1b[31mfire"))
    with pytest.raises(RegistryError, match="the registry failed: 503 disk on") as caught:
        Wire(registry.host).get()
    assert len(registry.requests) == 4
    assert caught.value.message.isprintable()
    assert (caught.value.status, caught.value.codes) == (503, ("UNAVAILABLE",))


def test_no_retries_means_one_request(registry):
    registry.fail(".*", faulty.status(500))
    with pytest.raises(RegistryError):
        Wire(registry.host, registry_retries=0).get()
    assert len(registry.requests) == 1


def test_silent_registry_is_an_error_in_time(registry):
    registry.fail(".*", faulty.hang(1.0))
    with pytest.raises(RegistryError, match="no answer in time") as caught:
        Wire(registry.host, registry_timeout=0.2, registry_retries=0).get()
    assert "UDOCKER_REGISTRY_TIMEOUT" in caught.value.hint


def test_refused_connection_names_the_registry():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RegistryError, match=f"pull: app:1: {host}: connection refused") as caught:
            Wire(host, registry_retries=0).get()
    assert caught.value.temporary


def test_storage_that_cannot_be_reached_is_named_instead_of_the_registry(registry):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        storage = f"127.0.0.1:{taken.getsockname()[1]}"
        registry.fail(".*", faulty.redirect(f"http://{storage}/blob?signature=secret"))
        with pytest.raises(RegistryError, match=f"{storage}: connection refused") as caught:
            Wire(registry.host, registry_retries=0).get()
    assert "secret" not in f"{caught.value} {caught.value.url}"


def test_unknown_host_is_named_and_not_asked_again(monkeypatch):
    def lookup(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    wire = Wire("registry.invalid")
    with pytest.raises(
        RegistryError, match="registry.invalid: host name not found: Name or service not known"
    ):
        wire.get()
    assert wire.pauses == []


def test_proxy_that_cannot_be_reached_is_named(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(RegistryError, match="the proxy cannot be used"):
        Wire("registry.invalid", registry_retries=0).get()


def test_loopback_is_not_asked_through_a_proxy(registry, monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert Wire(registry.host).get() == 200


def test_netrc_does_not_replace_a_token(registry, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ann password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    Wire(registry.host).get(Authorization="Bearer token")
    Wire(registry.host).get()
    assert [item.headers.get("authorization") for item in registry.requests] == ["Bearer token", None]


def test_cookies_are_not_kept(registry):
    registry.fail(".*", faulty.header("Set-Cookie", "track=1; Path=/"))
    wire = Wire(registry.host)
    wire.get()
    wire.get()
    assert "cookie" not in registry.requests[1].headers


def test_redirect_is_followed_and_credentials_stay_behind(registry):
    with FaultyRegistry() as storage:
        registry.fail(".*", faulty.redirect(storage.url + "{path}?signature=1"))
        assert Wire(registry.host).get(Authorization="Bearer secret", Range="bytes=1-") == 200
        (asked,) = storage.requests
    assert "authorization" not in asked.headers
    assert asked.headers["range"] == "bytes=1-"


def test_redirect_on_the_same_host_keeps_credentials(registry):
    registry.fail("GET /v2/$", faulty.redirect("/v2/other/blobs/x"))
    Wire(registry.host).get(Authorization="Bearer secret")
    assert registry.requests[1].headers["authorization"] == "Bearer secret"


def test_credentials_do_not_come_back_after_a_detour(registry):
    with FaultyRegistry() as storage:
        registry.fail("GET /v2/$", faulty.redirect(storage.url + "/away"))
        storage.fail(".*", faulty.redirect(registry.url + "/v2/back"))
        Wire(registry.host).get(Authorization="Bearer secret")
    assert "authorization" not in registry.requests[1].headers


def test_body_of_a_redirect_is_not_read(registry):
    registry.fail("GET /v2/$", faulty.redirect("/v2/x/blobs/y"), faulty.content_length(1 << 40))
    wire = Wire(registry.host)
    assert wire.get() == 404
    assert wire.pauses == []


def test_endless_redirects_end(registry):
    registry.fail(".*", faulty.redirect("{path}"))
    with pytest.raises(RegistryError, match="more than 10 redirects"):
        Wire(registry.host).get()
    assert len(registry.requests) == 11


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://h/", "http://[", "http://h:0/", "http://h:99999/", "x://\x1b["],
)
def test_redirect_to_no_web_address_is_refused(registry, location):
    registry.fail(".*", faulty.redirect(location))
    with pytest.raises(RegistryError, match="not a web address") as caught:
        Wire(registry.host).get()
    assert caught.value.message.isprintable()


def test_redirect_from_https_to_http_is_refused():
    transport = Wire("registry.example.org").transport
    with pytest.raises(RegistryError, match="redirects from https to plain http"):
        transport._redirected("https://registry.example.org/v2/", "http://storage.example.org/x")
    lax = Wire("registry.example.org", insecure_registries=frozenset({"registry.example.org"})).transport
    target = "http://storage.example.org/x"
    assert lax._redirected("https://registry.example.org/v2/", target) == target


def test_plain_http_is_for_loopback_and_listed_hosts_only():
    assert Wire("registry.example.org").transport._schemes == ("https",)
    assert Wire("localhost:5000").transport._schemes == ("https", "http")
    for listed in ("node1:5000", "node1", "NODE1:5000"):
        wire = Wire("node1:5000", insecure_registries=frozenset({listed}))
        assert wire.transport._schemes == ("https", "http")
    assert not Wire("node1:5001", insecure_registries=frozenset({"node1:5000"})).transport.lax
    assert Wire("node1:5001", insecure=True).transport.lax


@pytest.mark.parametrize("host", ["localhost:99999", "localhost:0", "[:::]:80"])
def test_address_that_cannot_be_is_named(host):
    with pytest.raises(RegistryError, match="pull: app:1: "):
        Wire(host, registry_retries=0).get()


def test_scheme_is_settled_by_the_first_answer(registry):
    wire = Wire(registry.host)
    wire.get()
    assert wire.transport._schemes == ("http",)


def test_registry_that_does_not_answer_tls_greetings_is_reached_by_http(monkeypatch):
    monkeypatch.setattr("udocker.registry.transport._PROBE_TIMEOUT", 0.2)
    with FaultyRegistry() as registry:
        monkeypatch.setattr(FaultyHandler, "handle", _slow_for_tls)
        assert Wire(registry.host).get() == 200


def _slow_for_tls(handler: Any) -> None:
    if handler.connection.recv(1, socket.MSG_PEEK) == b"\x16":
        time.sleep(1)
        return
    BaseHTTPRequestHandler.handle(handler)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1"])
def test_loopback_is_recognized(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["localhost.example.org", "127.example.org", "10.0.0.1", "", None, "1270.0.0.1"]
)
def test_other_hosts_are_not_loopback(host):
    assert not is_loopback(host)


def test_untrusted_certificate_is_refused_with_a_hint(certificate, monkeypatch):
    monkeypatch.setattr("udocker.registry.transport.is_loopback", lambda host: False)
    with FaultyRegistry(certificate) as registry:
        wire = Wire(registry.host)
        with pytest.raises(RegistryError, match="certificate is not trusted") as caught:
            wire.get()
        assert wire.pauses == []
        assert "SSL_CERT_FILE" in caught.value.hint
        assert "UDOCKER_INSECURE_REGISTRIES" in caught.value.hint
        assert Wire(registry.host, insecure=True).get() == 200
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", certificate)
        assert Wire(registry.host).get() == 200


def test_plain_http_where_tls_is_needed_is_named(registry, monkeypatch):
    monkeypatch.setattr("udocker.registry.transport.is_loopback", lambda host: False)
    monkeypatch.setattr(FaultyHandler, "handle", BaseHTTPRequestHandler.handle)
    with pytest.raises(RegistryError):
        Wire(registry.host, registry_retries=0, registry_timeout=0.5).get()
    assert registry.requests == []


def test_loopback_registry_with_its_own_certificate_is_taken_as_docker_does(certificate):
    with FaultyRegistry(certificate) as registry:
        assert Wire(registry.host).get() == 200


def test_ca_in_the_environment_cannot_turn_verification_on_again(certificate, tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    with FaultyRegistry(certificate) as registry:
        assert Wire(registry.host, insecure=True).get() == 200


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("5", 5),
        (" 5 ", 5),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10),
        ("Tue, 14 Nov 2023 22:13:30 -0000", 10),
        ("Tue, 14 Nov 2000 22:13:30 GMT", 0),
        ("-5", None),
        ("5.5", None),
        ("٣", None),
        ("9" * 400, None),
        ("soon", None),
        ("", None),
        (None, None),
        ("Tue, 99 Nov 99999 22:13:30 GMT", None),
    ],
)
def test_retry_after_is_read(value, seconds):
    assert retry.retry_after(value, NOW) == seconds


def test_pauses_double_up_to_a_limit_and_vary():
    assert 0.25 <= retry.pause_before(0) <= 0.5
    assert 2 <= retry.pause_before(3) <= 4
    assert 15 <= retry.pause_before(10_000) <= 30
    assert len({retry.pause_before(3) for _ in range(20)}) > 10
