"""The way to a registry: TLS with private authorities and client certificates, SOCKS and HTTP proxies."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import pytest

from tests.services.certificates import HOST, Authority, Pair
from tests.services.images import ImageBuilder, file
from tests.services.proxies import PASSWORD, Proxy, http_proxy, socks_proxy
from tests.services.registry import Registry, run_registry
from tests.services.sharing import session_directory
from tests.services.token_service import token_service
from tests.services.users import User


@dataclass(frozen=True)
class Secured:
    """A real registry with a certificate of a private authority; it holds team/app:1."""

    registry: Registry
    authority: Pair
    client: Optional[Pair] = None

    @property
    def port(self) -> int:
        return int(self.registry.host.rpartition(":")[2])

    @property
    def host(self) -> str:
        """The registry by a name that is not one of loopback."""
        return f"{HOST}:{self.port}"

    @property
    def image(self) -> str:
        return f"{self.host}/team/app:1"


@dataclass(frozen=True)
class Home:
    """udocker as a user with a home of its own."""

    user: User
    programs: Path
    path: Path

    def __call__(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        environ = {"HOME": str(self.path), "UDOCKER_REGISTRY_RETRIES": "1", **env}
        return self.user.run([self.programs / "udocker", *arguments], env=environ)

    def good(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        result = self(*arguments, **env)
        assert result.returncode == 0, result
        return result

    def bad(self, *arguments: str, **env: str) -> str:
        result = self(*arguments, **env)
        assert (result.returncode, result.stdout) == (125, ""), result
        assert len([line for line in result.stderr.splitlines() if line.startswith("udocker: ")]) == 1
        return result.stderr

    def put(self, source: Path, *names: str) -> None:
        """Copy a file to a place below the home."""
        target = self.path.joinpath(*names)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())


@pytest.fixture
def home(user1: User, udocker_bin: Path) -> Iterator[Home]:
    with session_directory("home") as directory:
        os.chown(directory, user1.uid, user1.gid)
        yield Home(user1, udocker_bin, directory)


def push(registry: Registry) -> None:
    builder = ImageBuilder()
    image = builder.image([builder.layer([file("x", os.urandom(300_000))]) for _ in range(3)])
    builder.push(registry.url, "team/app", "1", image, insecure=True)


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    with session_directory("tls") as directory:
        authority = Authority(directory)
        server = authority.sign("server")
        tls = {"certificate": str(server.certificate), "key": str(server.key)}
        with run_registry(tls=tls) as registry:
            push(registry)
            yield Secured(registry, authority.pair)


@pytest.fixture(scope="module")
def plain() -> Iterator[Registry]:
    with run_registry() as registry:
        push(registry)
        yield registry


@pytest.fixture(scope="module")
def socks() -> Iterator[Proxy]:
    with socks_proxy() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def http() -> Iterator[Proxy]:
    with http_proxy() as proxy:
        yield proxy


def test_an_unknown_authority_is_refused_with_a_hint(home: Home, secured: Secured) -> None:
    said = home.bad("pull", secured.image)
    assert "its TLS certificate is not trusted" in said
    assert "certs.d" in said


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_an_authority_is_named_by_a_variable(home: Home, secured: Secured, variable: str) -> None:
    home.good("pull", secured.image, **{variable: str(secured.authority.certificate)})


@pytest.mark.parametrize("place", [".config/containers/certs.d", ".config/docker/certs.d"])
def test_an_authority_is_where_podman_and_docker_have_it(home: Home, secured: Secured, place: str) -> None:
    home.put(secured.authority.certificate, *place.split("/"), secured.host, "ca.crt")
    home.good("pull", secured.image)
    home.good("search", "--list-tags", secured.image.rpartition(":")[0])


def test_an_authority_of_another_registry_is_not_believed(home: Home, secured: Secured) -> None:
    home.put(secured.authority.certificate, ".config", "containers", "certs.d", "other:5000", "ca.crt")
    assert "not trusted" in home.bad("pull", secured.image)


def test_a_file_that_is_no_certificate_is_named(home: Home, secured: Secured) -> None:
    junk = home.path / "junk"
    junk.write_text("junk\n")
    home.put(junk, ".config", "containers", "certs.d", secured.host, "ca.crt")
    assert "certs.d" in home.bad("pull", secured.image)
    (home.path / ".config" / "containers" / "certs.d" / secured.host / "ca.crt").unlink()
    said = home.bad("pull", secured.image, REQUESTS_CA_BUNDLE="/no/such/file")
    assert "/no/such/file" in said


@pytest.mark.parametrize("how", ["option", "global option", "one host", "all"])
def test_a_registry_may_be_trusted_all_the_same(home: Home, secured: Secured, how: str) -> None:
    if how == "option":
        home.good("pull", "--insecure", secured.image)
    elif how == "global option":
        home.good("--insecure", "pull", secured.image)
    elif how == "one host":
        home.good("pull", secured.image, UDOCKER_INSECURE_REGISTRIES=f"other:1,{secured.host}")
    else:
        home.good("pull", secured.image, UDOCKER_INSECURE="1")


def test_plain_http_is_refused_but_for_hosts_that_may(home: Home, plain: Registry) -> None:
    port = plain.host.rpartition(":")[2]
    image = f"{HOST}:{port}/team/app:1"
    assert "TLS failed" in home.bad("pull", image)
    home.good("pull", image, UDOCKER_INSECURE_REGISTRIES=f"{HOST}:{port}")
    home.good("pull", f"--registry=http://{HOST}:{port}", "team/app:1")


def test_a_registry_that_wants_a_client_certificate_gets_it(home: Home) -> None:
    with session_directory("tls") as directory:
        authority = Authority(directory)
        server, client = authority.sign("server"), authority.sign("client")
        own = {"certificate": str(server.certificate), "key": str(server.key)}
        with run_registry(tls={**own, "clientcas": [str(authority.pair.certificate)]}) as registry:
            at = Secured(registry, authority.pair)
            certs = (".config", "containers", "certs.d", at.host)
            home.put(authority.pair.certificate, *certs, "ca.crt")
            assert "TLS failed" in home.bad("pull", at.image)
            home.put(client.certificate, *certs, "client.cert")
            home.put(client.key, *certs, "client.key")
            assert "no such tag" in home.bad("pull", at.image) or "no such repo" in home.bad("pull", at.image)


def test_tokens_of_a_real_registry_are_asked_for_by_password_and_scope(home: Home) -> None:
    with session_directory("token") as directory, token_service(directory, "ann", "secret") as service:
        with run_registry(settings={"auth": service.settings}) as registry:
            builder = ImageBuilder()
            image = builder.image([builder.layer([file(f"x{number}")]) for number in range(3)])
            token = service.token(["repository:team/app:pull,push"])
            builder.push(registry.url, "team/app", "1", image, token=token)
            service.asked.clear()
            name = f"{registry.host}/team/app:1"
            assert f"udocker login --registry={registry.host}" in home.bad("pull", name)
            home.good("login", f"--registry={registry.host}", "--username=ann", "--password=secret")
            home.good("pull", name)
            assert service.asked[-1] == ["repository:team/app:pull"]
            home.good("search", "--list-tags", name.rpartition(":")[0])
            said = home.bad("login", f"--registry={registry.host}", "--username=ann", "--password=wrong")
            assert "refused" in said


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_is_used(home: Home, plain: Registry, socks: Proxy, scheme: str) -> None:
    home.good("pull", f"--httpproxy={socks.url(scheme)}", f"{plain.host}/team/app:1")
    assert f"{plain.host}" in socks.log.read_text(errors="replace")


def test_a_socks_proxy_of_the_environment_leads_to_a_registry_with_tls(
    home: Home, secured: Secured, socks: Proxy
) -> None:
    proxy = {"HTTPS_PROXY": socks.url("socks5h"), "SSL_CERT_FILE": str(secured.authority.certificate)}
    home.good("pull", secured.image, **proxy)
    assert socks.used_for(secured.port)


@pytest.mark.parametrize("how", ["option", "environment", "configuration"])
def test_an_http_proxy_is_used_by_connect(home: Home, secured: Secured, http: Proxy, how: str) -> None:
    env = {"SSL_CERT_FILE": str(secured.authority.certificate)}
    if how == "environment":
        home.good("pull", secured.image, HTTPS_PROXY=http.url("http"), **env)
    elif how == "option":
        home.good("pull", f"--httpproxy={http.url('http')}", secured.image, **env)
    else:
        conf = home.path / "my.conf"
        conf.write_text(f"[DEFAULT]\nhttp_proxy = {http.url('http')}\n")
        home.good(f"--config={conf}", "pull", secured.image, **env)
    assert http.used_for(secured.port)


def test_no_proxy_is_honoured(home: Home, secured: Secured, http: Proxy) -> None:
    env = {"SSL_CERT_FILE": str(secured.authority.certificate), "NO_PROXY": HOST}
    home.good("pull", "--httpproxy=http://127.0.0.1:1", secured.image, **env)
    assert "the proxy cannot be used" in home.bad(
        "pull", "--httpproxy=http://127.0.0.1:1", secured.image, **{**env, "NO_PROXY": ""}
    )


@pytest.mark.parametrize("scheme", ["socks5h", "http"])
def test_a_password_that_a_proxy_refuses_is_one_line_without_it(
    home: Home, secured: Secured, socks: Proxy, http: Proxy, scheme: str
) -> None:
    proxy = (http if scheme == "http" else socks).url(scheme, "wrong-secret")
    said = home.bad("pull", f"--httpproxy={proxy}", secured.image)
    assert "the proxy" in said
    assert "secret" not in said


def test_a_socks_proxy_that_is_not_there_is_named(home: Home, secured: Secured) -> None:
    said = home.bad("pull", f"--httpproxy=socks5h://u:{PASSWORD}@127.0.0.1:1", secured.image)
    assert "the proxy cannot be used" in said
    assert PASSWORD not in said
    assert "not the address of a proxy" in home.bad("pull", "--httpproxy=gopher://x:1", secured.image)


def test_a_terminal_shows_bars_and_messages_above_them(home: Home, plain: Registry) -> None:
    """script(1) makes the terminal."""
    image = f"{plain.host}/team/app:1"
    command = f"{home.programs / 'udocker'} pull {image}"
    env = {"HOME": str(home.path), "TERM": "xterm", "UDOCKER_REGISTRY_MIRRORS": f"{plain.host}=127.0.0.1:1"}
    shown: str = home.user.run(["script", "-qec", command, "/dev/null"], env=env, check=True).stdout
    assert "━" in shown
    assert "going on without the mirror 127.0.0.1:1" in " ".join(shown.split())
    assert f"{image}: sha256:" in shown.rstrip().splitlines()[-1]


@pytest.mark.parametrize("option", ["--index=https://index.example/v1", "--platform=linux/amd64"])
def test_the_other_options_of_udockers_pull_are_taken(home: Home, plain: Registry, option: str) -> None:
    image = f"{plain.host}/team/app:1"
    home.good("pull", option, image)
    home.good("manifest", "inspect", option, image)


def test_search_and_manifest_go_through_a_proxy(home: Home, plain: Registry, socks: Proxy) -> None:
    proxy = f"--httpproxy={socks.url('socks5h')}"
    assert home.good("search", "--list-tags", proxy, f"{plain.host}/team/app").stdout == "1\n"
    before = socks.log.read_text(errors="replace").count(plain.host)
    home.good("manifest", "inspect", proxy, f"{plain.host}/team/app:1")
    assert socks.log.read_text(errors="replace").count(plain.host) > before


def test_a_proxys_password_is_not_shown_among_the_settings(home: Home) -> None:
    shown = home.good("showconf", UDOCKER_HTTP_PROXY=f"socks5://u:{PASSWORD}@proxy.example:1080").stdout
    assert "http_proxy = socks5://...@proxy.example:1080\n" in shown
    assert PASSWORD not in shown


def test_sixteen_pulls_at_once_fetch_every_layer_once(home: Home) -> None:
    with run_registry() as registry:
        push(registry)
        registry.clear()
        command = [home.programs / "udocker", "pull", "-q", f"{registry.host}/team/app:1"]
        pulls = [home.user.popen(command, env={"HOME": str(home.path)}) for _ in range(16)]
        assert [process.wait(timeout=120) for process in pulls] == [0] * 16
        blobs = [request.path for request in registry.requests() if "/blobs/" in request.path]
        layers = [path for path in blobs if blobs.count(path) == 1]
        assert len(layers) == 3
        assert len(set(blobs)) == 4  # the configuration is small, and fetched by each
    home.good("verify", f"{registry.host}/team/app:1")
    assert list((home.path / ".udocker" / "locks").glob("blob-*")) == []
