"""Parsers of what registries and docker's configuration say, on anything at all."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udocker.errors import ConfigError
from udocker.registry.challenge import Challenge, parse_challenges
from udocker.registry.credentials import Credentials, stored_credentials
from udocker.registry.words import printable, server_words

TOKENS = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789-_.", min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://a/t",service="s",scope="repository:x:pull,push"',
            [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:x:pull,push"})],
        ),
        ("Basic", [("basic", {})]),
        ("BASIC realm=x", [("basic", {"realm": "x"})]),
        ("bearer realm=https://a/t , Service = s", [("bearer", {"realm": "https://a/t", "service": "s"})]),
        (
            'Negotiate, Basic realm="a, b", Bearer realm="c"',
            [("negotiate", {}), ("basic", {"realm": "a, b"}), ("bearer", {"realm": "c"})],
        ),
        ('Negotiate abc/+==, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        (r'Basic realm="say \"hi\\\""', [("basic", {"realm": 'say "hi\\"'})]),
        ('Basic realm="a",realm="b"', [("basic", {"realm": "a"})]),
        ('Basic realm="never closed', [("basic", {})]),
        ("", []),
        (',,, "', []),
    ],
)
def test_challenges_are_read(header, expected):
    assert [(item.scheme, item.parameters) for item in parse_challenges(header)] == expected


@given(st.text(max_size=300))
def test_no_header_breaks_the_parser(header):
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


@given(st.text('ab =",\\\t', max_size=60))
def test_no_arrangement_of_separators_breaks_the_parser(header):
    parse_challenges(header)


@given(st.lists(st.tuples(TOKENS, st.dictionaries(TOKENS.map(str.lower), VALUES, min_size=1)), max_size=4))
def test_written_challenges_are_read_back(challenges):
    written = []
    for scheme, parameters in challenges:
        quoted = [
            '{}="{}"'.format(name, value.replace("\\", r"\\").replace('"', r"\""))
            for name, value in parameters.items()
        ]
        written.append(f"{scheme} {', '.join(quoted)}")
    expected = [Challenge(scheme.lower(), parameters) for scheme, parameters in challenges]
    assert parse_challenges(", ".join(written)) == expected


def test_long_header_of_separators_is_read_quickly():
    assert parse_challenges("a=" * 1_000_000) == []
    assert len(parse_challenges("a, " * 1_000_000)) < 10_000


@given(st.text(max_size=2000))
def test_printable_text_is_one_bounded_line(text):
    shown = printable(text, 50)
    assert shown.isprintable()
    assert len(shown) <= 50 * 10 + 1


@given(st.binary(max_size=500))
def test_no_body_breaks_the_reader_of_errors(body):
    _, words = server_words(body)
    assert words.isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["errors", "code", "message", "details", "x"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_document_breaks_the_reader_of_errors(document):
    codes, words = server_words(json.dumps(document).encode())
    assert all(code.isprintable() for code in codes)
    assert words.isprintable()


def write_auths(tmp_path, auths):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": auths}))
    return path


AUTH = {"auth": base64.b64encode(b"ann:secret").decode()}


@pytest.mark.parametrize(
    ("key", "registry", "found"),
    [
        ("registry.example.org", "registry.example.org", True),
        ("https://registry.example.org", "registry.example.org", True),
        ("https://registry.example.org/v2/", "registry.example.org", True),
        ("Registry.example.org:5000", "registry.example.org:5000", True),
        ("registry.example.org", "registry.example.org:5000", False),
        ("registry.example.org/team", "registry.example.org", False),
        ("https://index.docker.io/v1/", "registry-1.docker.io", True),
        ("docker.io", "registry-1.docker.io", True),
        ("https://index.docker.io/v1/", "quay.io", False),
    ],
)
def test_credentials_are_those_of_the_registry_alone(tmp_path, key, registry, found):
    path = write_auths(tmp_path, {key: AUTH})
    assert stored_credentials(path, registry) == (Credentials("ann", "secret") if found else None)


def test_user_and_password_in_clear_are_read(tmp_path):
    path = write_auths(tmp_path, {"r.example": {"username": "ann", "password": "secret"}})
    assert stored_credentials(path, "r.example") == Credentials("ann", "secret")


def test_password_is_not_shown():
    assert "secret" not in repr(Credentials("ann", "secret"))


@pytest.mark.parametrize("entry", [{}, {"auth": ""}, {"username": 5}, None, "x"])
def test_entry_without_a_password_is_none(tmp_path, entry):
    assert stored_credentials(write_auths(tmp_path, {"r.example": entry}), "r.example") is None


@pytest.mark.parametrize("auth", ["%%%", "bm9jb2xvbg==", "/w==", "a"])
def test_damaged_password_is_a_configuration_error(tmp_path, auth):
    path = write_auths(tmp_path, {"r.example": {"auth": auth}})
    with pytest.raises(ConfigError, match="auths: r.example"):
        stored_credentials(path, "r.example")


def test_missing_file_holds_no_password(tmp_path):
    assert stored_credentials(None, "r.example") is None
    assert stored_credentials(tmp_path / "config.json", "r.example") is None
    (tmp_path / "file").touch()
    assert stored_credentials(tmp_path / "file" / "config.json", "r.example") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_unreadable_file_is_a_configuration_error(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match="config.json"):
        stored_credentials(tmp_path / "config.json", "r.example")
    with pytest.raises(ConfigError):
        stored_credentials(tmp_path, "r.example")
