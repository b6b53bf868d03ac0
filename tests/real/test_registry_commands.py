"""Commands that talk to a registry: with a real one that asks for a password, and one that fails."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.services.faulty_registry import FaultyRegistry, errors, status
from tests.services.images import ImageBuilder, file
from tests.services.needs import need_command
from tests.services.registry import Registry, run_registry
from tests.services.sharing import session_directory
from tests.services.users import User

USER, PASSWORD = "ann", "correct-horse"


@dataclass(frozen=True)
class Caller:
    """udocker as a user calls it, with a home of its own."""

    user: User
    programs: Path
    home: Path

    @property
    def keystore(self) -> Path:
        return self.home / ".udocker" / "keystore"

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        env = {"HOME": str(self.home), "UDOCKER_REGISTRY_RETRIES": "1"}
        return self.user.run([self.programs / "udocker", *arguments], env=env, input=stdin)

    def good(self, *arguments: str, stdin: str = "") -> str:
        result = self(*arguments, stdin=stdin)
        assert result.returncode == 0, result
        return result.stdout

    def bad(self, *arguments: str, stdin: str = "") -> str:
        result = self(*arguments, stdin=stdin)
        assert result.returncode == 125, result
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        assert PASSWORD not in result.stderr
        return result.stderr


@pytest.fixture
def udocker(user1: User, udocker_bin: Path) -> Iterator[Caller]:
    with session_directory("home") as directory:
        os.chown(directory, user1.uid, user1.gid)
        yield Caller(user1, udocker_bin, directory)


@pytest.fixture(scope="module")
def private() -> Iterator[Registry]:
    """A real registry that asks for a password; it holds team/app with the tags 1 to 5."""
    htpasswd = need_command("htpasswd", "apache2-utils")
    entry = subprocess.run(
        [htpasswd, "-niB", USER], input=PASSWORD, capture_output=True, text=True, check=True
    )
    with session_directory("htpasswd") as directory:
        passwords = directory / "htpasswd"
        passwords.write_text(entry.stdout)
        passwords.chmod(0o644)
        settings = {"auth": {"htpasswd": {"realm": "test", "path": str(passwords)}}}
        directory.chmod(0o755)
        with run_registry(settings=settings) as registry:
            builder = ImageBuilder()
            image = builder.image([builder.layer([file("x")])])
            for tag in "12345":
                builder.push(registry.url, "team/app", tag, image, auth=(USER, PASSWORD))
            yield registry


@pytest.fixture
def logged_in(udocker: Caller, private: Registry) -> Caller:
    udocker.good("login", f"--username={USER}", "--password-stdin", *at(private), stdin=f"{PASSWORD}\n")
    return udocker


def at(registry: Registry) -> list[str]:
    return [f"--registry={registry.host}"]


def test_login_pull_and_logout(udocker: Caller, private: Registry) -> None:
    image = f"{private.host}/team/app:1"
    assert f"udocker login --registry={private.host}" in udocker.bad("pull", image)
    result = udocker("login", f"--username={USER}", "--password-stdin", *at(private), stdin=f"{PASSWORD}\n")
    assert result.returncode == 0, result
    assert PASSWORD not in result.stdout + result.stderr
    assert list(json.loads(udocker.keystore.read_text())) == [f"https://{private.host}"]
    assert stat.S_IMODE(udocker.keystore.stat().st_mode) == 0o600
    assert udocker.good("pull", image).startswith(image)
    udocker.good("logout", *at(private))
    assert "a password is needed" in udocker.bad("pull", image)
    assert "no password is kept" in udocker.bad("logout", *at(private))


def test_a_wrong_password_is_not_kept(udocker: Caller, private: Registry) -> None:
    message = udocker.bad("login", f"--username={USER}", "--password=wrong", *at(private))
    assert "'ann' refused" in message
    assert not udocker.keystore.exists()


def test_logout_from_all_removes_the_keystore(logged_in: Caller) -> None:
    logged_in.good("logout", "-a")
    assert not logged_in.keystore.exists()
    logged_in.good("logout", "-a")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--password=x"], "--username"),
        (["--username=ann"], "--password-stdin"),
        (["--username=ann", "--password-stdin"], "empty"),
        (["--username=a:b", "--password=x"], "not a user's name"),
        (["--username=ann", "--password=x", "--password-stdin"], "not allowed"),
        (["--username=ann", "--password=x", "--registry=a b"], "not the address"),
    ],
)
def test_a_login_that_lacks_something_is_one_clear_line(
    udocker: Caller, arguments: list[str], words: str
) -> None:
    assert words in udocker.bad("login", *arguments)


def test_a_terminal_is_asked_without_an_echo(udocker: Caller, private: Registry) -> None:
    """script(1) makes the terminal; what is typed is there only once the prompt is."""
    command = f"{udocker.programs / 'udocker'} login --registry={private.host}"
    environ = {"HOME": str(udocker.home)}
    process = udocker.user.popen(
        ["script", "--quiet", "--return", "--command", command, "/dev/null"],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    seen = ""
    with process:
        for prompt, answer in (("username: ", USER), ("password: ", PASSWORD)):
            while not seen.endswith(prompt):
                char = process.stdout.read(1)
                assert char, seen
                seen += char
            process.stdin.write(f"{answer}\n")
            process.stdin.flush()
        seen += process.stdout.read()
    assert process.returncode == 0, seen
    assert PASSWORD not in seen
    assert udocker.keystore.exists()


def test_manifest_inspect_gives_the_registrys_bytes(logged_in: Caller, private: Registry) -> None:
    image = f"{private.host}/team/app"
    raw = logged_in.good("manifest", "inspect", f"{image}:1")
    assert json.loads(raw)["schemaVersion"] == 2
    digest = hashlib.sha256(raw.encode()).hexdigest()
    assert logged_in.good("manifest", "inspect", f"{image}@sha256:{digest}") == raw
    assert "no such tag" in logged_in.bad("manifest", "inspect", f"{image}:none")


def test_tags_are_listed_one_a_line(logged_in: Caller, private: Registry) -> None:
    name = f"{private.host}/team/app"
    for arguments in ([name], [*at(private), "team/app"]):
        assert sorted(logged_in.good("search", "--list-tags", *arguments).splitlines()) == list("12345")
    assert "no such repository" in logged_in.bad("search", "--list-tags", f"{private.host}/no/such")


def test_search_finds_repositories_by_part_of_their_name(logged_in: Caller, private: Registry) -> None:
    head, *lines = logged_in.good("search", "-a", f"{private.host}/app").splitlines()
    assert head.split() == ["NAME", "OFFICIAL", "DESCRIPTION", "STARS"]
    assert [line.split() for line in lines] == [["team/app", "----"]]
    assert logged_in.good("search", *at(private), "nothing-like-it").count("\n") == 1


def test_a_link_to_another_host_is_refused(udocker: Caller) -> None:
    with FaultyRegistry() as registry, FaultyRegistry() as other:
        link = f'<{other.url}/v2/team/app/tags/list?n=1>; rel="next"'
        registry.fail("GET .*/tags/list", status(200, b'{"tags": ["a"]}', Link=link))
        result = udocker("search", "--list-tags", f"{registry.host}/team/app")
        assert result.returncode == 125
        assert "goes on elsewhere" in result.stderr
        assert other.requests == []


def test_a_registry_that_refuses_is_told_in_its_words(udocker: Caller) -> None:
    with FaultyRegistry() as registry:
        registry.fail(".*", errors(429, "TOOMANYREQUESTS", "slow down"))
        for command in (["manifest", "inspect"], ["search", "--list-tags"]):
            assert "slow down" in udocker.bad(*command, f"{registry.host}/team/app")


def test_settings_of_a_file_reach_the_command(udocker: Caller) -> None:
    store = udocker.home / "elsewhere"
    conf = udocker.home / "my.conf"
    conf.write_text(f"[DEFAULT]\ntopdir = {store}\nunknown = 1\n")
    conf.chmod(0o644)
    assert f"directory: {store}\n" in udocker.good(f"--config={conf}", "version")
    assert "unknown: has no meaning here" in udocker("-D", f"--config={conf}", "version").stderr
    assert "no-such.conf" in udocker.bad("--config=/no-such.conf", "version")
