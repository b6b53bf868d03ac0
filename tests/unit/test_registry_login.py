"""A registry that asks for tokens and passwords."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.services import faulty_registry as faulty
from tests.services.faulty_registry import FaultyRegistry
from tests.unit.registry_pull import (
    AMD64,
    MANIFEST,
    Pull,
    put_image,
)
from udocker.errors import RegistryError


def test_token_is_fetched_once_and_used_for_everything(registry, tmp_path):
    put_image(registry)
    registry.require_tokens()
    pull = Pull(registry, tmp_path)
    pull.client.fetch_image(AMD64, at=pull.client.resolve().digest)
    (asked,) = registry.asked("GET /token")
    assert "scope=repository%3Ateam%2Fapp%3Apull&" in f"{asked.path}&"
    assert "push" not in asked.path


def test_token_that_expires_in_the_middle_is_replaced(registry, tmp_path):
    builder, _ = put_image(registry)
    registry.require_tokens(uses=1)
    pull = Pull(registry, tmp_path)
    fetched = pull.client.fetch_image(AMD64)
    pull.client.blob(fetched.manifest.layers[0], pull.path)
    assert len(registry.asked("GET /token")) == 3
    assert pull.path.read_bytes() == builder.blobs[str(fetched.manifest.layers[0].digest)].data


def test_registry_that_refuses_every_token_is_not_asked_forever(registry, tmp_path):
    put_image(registry)
    registry.require_tokens(uses=0)
    with pytest.raises(RegistryError, match="no such repository, or no access to it"):
        Pull(registry, tmp_path).client.manifest("1")
    assert len(registry.asked("GET /token")) == 1
    assert len(registry.asked(MANIFEST)) == 2


def docker_config(tmp_path: Path, registry: FaultyRegistry, text: str) -> Path:
    path = tmp_path / "config.json"
    encoded = base64.b64encode(text.encode()).decode()
    path.write_text(json.dumps({"auths": {f"https://{registry.host}/v1/": {"auth": encoded}}}))
    return path


@pytest.mark.parametrize("tokens", [True, False])
def test_stored_password_opens_a_private_repository(registry, tmp_path, tokens):
    put_image(registry)
    (registry.require_tokens if tokens else registry.require_basic)("ann", "se:crèt")
    stored = docker_config(tmp_path, registry, "ann:se:crèt")
    assert Pull(registry, tmp_path, docker_config=stored).client.fetch_image(AMD64)


@pytest.mark.parametrize("tokens", [True, False])
def test_wrong_password_is_refused_by_name_and_never_shown(registry, tmp_path, tokens):
    put_image(registry)
    (registry.require_tokens if tokens else registry.require_basic)("ann", "right")
    stored = docker_config(tmp_path, registry, "ann:wrongpassword")
    with pytest.raises(RegistryError) as caught:
        client = Pull(registry, tmp_path, docker_config=stored).client
        client.resolve()
    assert caught.value.status == 401
    assert "wrongpassword" not in repr(caught.value)
    assert "login" in caught.value.hint


def test_private_repository_without_a_password_says_how_to_log_in(registry, tmp_path):
    put_image(registry)
    registry.require_basic("ann", "secret")
    with pytest.raises(RegistryError, match="a password is needed") as caught:
        Pull(registry, tmp_path).client.resolve()
    assert f"udocker login --registry={registry.host}" in caught.value.hint


def test_unsafe_token_is_refused(registry, tmp_path):
    put_image(registry)
    registry.require_tokens()
    registry.fail("GET /token", faulty.body(b'{"token": "a\\r\\nX-Evil: 1"}'))
    with pytest.raises(RegistryError, match="holds no token"):
        Pull(registry, tmp_path).client.manifest("1")


@pytest.mark.parametrize("realm", ["", "ftp://x/token", "file:///etc/passwd", "http://[bad", "http://\x1b/"])
def test_realm_that_is_no_web_address_is_refused(registry, tmp_path, realm):
    put_image(registry)
    registry.require_tokens()
    registry.fail(MANIFEST, faulty.header("WWW-Authenticate", f'Bearer realm="{realm}"'))
    with pytest.raises(RegistryError, match="its token service has no https address"):
        Pull(registry, tmp_path).client.manifest("1")
