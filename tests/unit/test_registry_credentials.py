"""Passwords: where they are kept, who is asked for them, and that nobody else sees them."""

from __future__ import annotations

import base64
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.services import faulty_registry as faulty
from tests.services.faulty_registry import FaultyRegistry
from tests.unit.registry_pull import AMD64, Pull, put_image
from udocker.config import Config
from udocker.errors import ConfigError, RegistryError, UsageError
from udocker.registry import helpers
from udocker.registry.address import registry_address
from udocker.registry.credentials import Credentials, find_credentials
from udocker.registry.keystore import Keystore
from udocker.registry.login import check_login

ANN = Credentials("ann", "se:crèt")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    docker = tmp_path / "docker" / "config.json"
    docker.parent.mkdir()
    return Config(tmp_path, docker_config=docker, keystore=tmp_path / "keystore", registry_retries=0)


def write_docker(config: Config, **settings: Any) -> None:
    assert config.docker_config is not None
    config.docker_config.write_text(json.dumps(settings))


def test_keystore_is_udockers_file_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keystore"
    Keystore(path).put("quay.io", ANN)
    assert json.loads(path.read_text()) == {"https://quay.io": {"auth": encoded("ann:se:crèt"), "email": ""}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_keystore_is_private_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    rename = os.rename

    def seen(source: Any, target: Any) -> None:
        modes.append(stat.S_IMODE(os.stat(source).st_mode))
        rename(source, target)

    monkeypatch.setattr(os, "rename", seen)
    before = os.umask(0)
    try:
        Keystore(tmp_path / "keystore").put("quay.io", ANN)
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_an_open_keystore_is_private_after_the_next_login(tmp_path: Path) -> None:
    path = tmp_path / "keystore"
    path.write_text("{}")
    path.chmod(0o644)
    Keystore(path).put("quay.io", ANN)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_keystore_of_udocker_is_read_and_the_rest_of_it_kept(config: Config) -> None:
    assert config.keystore is not None
    other = {"https://other.example": {"auth": encoded("o:p"), "email": "o@x"}, "odd": 5}
    old = {**other, "https://registry-1.docker.io": {"auth": encoded("old:old"), "email": ""}}
    config.keystore.write_text(json.dumps(old))
    assert find_credentials(config, "registry-1.docker.io") == Credentials("old", "old")
    Keystore(config.keystore).put("registry-1.docker.io", ANN)
    assert find_credentials(config, "registry-1.docker.io") == ANN
    assert Keystore(config.keystore).delete("registry-1.docker.io")
    assert not Keystore(config.keystore).delete("registry-1.docker.io")
    assert json.loads(config.keystore.read_text()) == other


def test_a_linked_keystore_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    Keystore(tmp_path / "link").put("quay.io", ANN)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").is_file()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"https://quay.io": {"auth": "%"}}'])
def test_a_damaged_keystore_is_told_and_can_be_removed(config: Config, text: str) -> None:
    assert config.keystore is not None
    config.keystore.write_text(text)
    with pytest.raises(ConfigError, match="keystore"):
        find_credentials(config, "quay.io")
    Keystore(config.keystore).erase()
    assert find_credentials(config, "quay.io") is None


def test_a_keystore_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="keystore") as caught:
        Keystore(tmp_path / "file" / "keystore").put("quay.io", ANN)
    assert "UDOCKER_KEYSTORE" in caught.value.hint


def test_the_keystore_comes_before_docker_and_docker_before_its_helpers(
    config: Config, helper: Helper
) -> None:
    assert config.keystore is not None
    helper.write('echo \'{"Username": "h", "Secret": "p"}\'')
    write_docker(config, auths={"a.io": {"auth": encoded("d:p")}, "b.io": {}}, credsStore="test")
    Keystore(config.keystore).put("a.io", ANN)
    assert find_credentials(config, "a.io") == ANN
    Keystore(config.keystore).delete("a.io")
    assert find_credentials(config, "a.io") == Credentials("d", "p")
    assert find_credentials(config, "b.io") == Credentials("h", "p")


class Helper:
    """The credential helper ``test`` on PATH, a shell script."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "docker-credential-test"
        self.asked = directory / "asked"

    def write(self, script: str) -> None:
        self.path.write_text(f'#!/bin/sh\nread line\necho "$1 $line" >> {self.asked}\n{script}\n')
        self.path.chmod(0o755)


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return Helper(tmp_path / "bin")


@pytest.mark.parametrize(
    ("registry", "address"),
    [("quay.io", "quay.io"), ("registry-1.docker.io", "https://index.docker.io/v1/")],
)
def test_a_helper_is_asked_by_dockers_address(
    config: Config, helper: Helper, registry: str, address: str
) -> None:
    helper.write('echo \'{"ServerURL": "x", "Username": "ann", "Secret": "s"}\'')
    write_docker(config, credHelpers={address: "test"}, credsStore="none-such")
    assert find_credentials(config, registry) == Credentials("ann", "s")
    assert helper.asked.read_text() == f"get {address}\n"


def test_a_helper_that_knows_no_password_is_no_failure(
    config: Config, helper: Helper, caplog: pytest.LogCaptureFixture
) -> None:
    helper.write("echo credentials not found in native keychain; exit 1")
    write_docker(config, credsStore="test")
    assert find_credentials(config, "quay.io") is None
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo locked; exit 1", "locked"),
        ("exit 3", "exit status 3"),
        ("echo hidden-secret", "holds no name and secret"),
        ('echo \'{"Username": "<token>", "Secret": "hidden-secret"}\'', "a token"),
        ("yes", "longer than"),
        ("sleep 100 & sleep 100", "no answer in"),
        ("exec >&-; sleep 100", "does not end in"),
    ],
)
def test_a_helper_that_fails_is_one_clear_line(
    config: Config,
    helper: Helper,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    words: str,
) -> None:
    monkeypatch.setattr(helpers.ask_helper, "__defaults__", (0.3,))
    helper.write(script)
    write_docker(config, credsStore="test")
    with caplog.at_level(logging.WARNING):
        assert find_credentials(config, "quay.io") is None
    (message,) = caplog.messages
    assert "docker-credential-test" in message
    assert words in message
    assert "hidden-secret" not in message


@pytest.mark.parametrize("name", ["missing", "../../bin/sh", "a b", ""])
def test_a_helper_that_is_no_program_on_the_path_is_not_started(name: str) -> None:
    with pytest.raises(ConfigError, match="not found on PATH"):
        helpers.ask_helper(name, "quay.io")


@pytest.mark.parametrize("tokens", [True, False])
def test_a_pull_uses_the_keystore(
    registry: FaultyRegistry, config: Config, tmp_path: Path, tokens: bool
) -> None:
    put_image(registry)
    (registry.require_tokens if tokens else registry.require_basic)("ann", "se:crèt")
    assert config.keystore is not None
    Keystore(config.keystore).put(registry.host, ANN)
    assert Pull(registry, tmp_path, keystore=config.keystore).client.fetch_image(AMD64)


@pytest.mark.parametrize("tokens", [True, False])
def test_login_is_checked_at_the_registry(registry: FaultyRegistry, config: Config, tokens: bool) -> None:
    (registry.require_tokens if tokens else registry.require_basic)("ann", "se:crèt")
    check_login(config, registry.host, ANN)
    with pytest.raises(RegistryError, match="'ann' refused") as caught:
        check_login(config, registry.host, Credentials("ann", "hidden"))
    assert "hidden" not in str(caught.value)


def test_login_does_not_ask_for_access_to_any_repository(registry: FaultyRegistry, config: Config) -> None:
    registry.require_tokens("ann", "se:crèt")
    check_login(config, registry.host, ANN)
    (asked,) = registry.asked("GET /token")
    assert "scope" not in asked.path


def test_login_at_a_registry_that_asks_nobody_is_told(
    registry: FaultyRegistry, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    check_login(config, registry.host, ANN)
    assert "could not be checked" in caplog.text


def test_login_does_not_follow_a_registry_that_fails(registry: FaultyRegistry, config: Config) -> None:
    registry.fail(".*", faulty.status(404))
    with pytest.raises(RegistryError, match="404"):
        check_login(config, registry.host, ANN)


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("", "registry-1.docker.io"),
        ("docker.io", "registry-1.docker.io"),
        ("https://index.docker.io/v1/", "registry-1.docker.io"),
        ("quay.io", "quay.io"),
        ("https://Quay.io/v2/", "quay.io"),
        ("host", "host"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_a_registry_is_named_as_docker_users_do(text: str, host: str) -> None:
    assert registry_address(text) == host


@pytest.mark.parametrize("text", ["a b", "https://", "quay.io/team", "u:p@host", "h:99999", "\x1b.io", "-x"])
def test_what_is_no_registry_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not the address"):
        registry_address(text)
