"""Settings from the environment and from udocker.conf."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Optional

import pytest

from udocker import config as config_module
from udocker.config import Config
from udocker.errors import ConfigError

NOBODY_KNOWN = 2**31 - 7  # no passwd entry has it


def test_udocker_dir_is_below_home_where_it_is_not_set() -> None:
    assert Config.from_environment({"HOME": "/h"}).udocker_dir == "/h/.udocker"
    assert Config.from_environment({"HOME": "/h", "UDOCKER_DIR": "/s"}).udocker_dir == "/s"


def test_a_user_without_a_home_is_told_to_set_udocker_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: NOBODY_KNOWN)
    with pytest.raises(ConfigError, match="UDOCKER_DIR"):
        Config.from_environment({})
    config = Config.from_environment({"UDOCKER_DIR": "/s"})
    assert (config.udocker_dir, config.docker_config) == ("/s", None)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e308", "x", "\udcff"])
def test_a_time_that_no_timer_takes_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="UDOCKER_REGISTRY_TIMEOUT"):
        Config.from_environment({"HOME": "/h", "UDOCKER_REGISTRY_TIMEOUT": text})


class Files:
    """The places of udocker.conf, below a directory of the test's."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.store = directory / "store"
        self.given = directory / "given"
        self.system = directory / "etc" / "udocker.conf"

    def write(self, path: Path, *lines: str, head: str = "[DEFAULT]") -> Path:
        path = path if path.suffix else path / "udocker.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([head, *lines]))
        return path

    def read(self, file: Optional[Path] = None, **environ: str) -> Config:
        return Config.from_environment({"HOME": str(self.home), **environ}, file)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    files = Files(tmp_path)
    monkeypatch.setattr(config_module, "SYSTEM_FILE", files.system)
    return files


def test_later_files_win_and_the_environment_over_all(files: Files) -> None:
    name = "registry_retries"
    files.write(files.system, f"{name} = 1", "timeout = 7")
    assert files.read().registry_retries == 1
    files.write(files.home / ".udocker", f"{name} = 2", f"topdir = {files.store}")
    assert files.read().registry_retries == 2
    files.write(files.store, f"{name} = 3", "topdir = /elsewhere")
    assert files.read().registry_retries == 3
    assert files.read().udocker_dir == str(files.store)
    given = files.write(files.given, f"{name} = 4")
    assert files.read(given).registry_retries == 4
    config = files.read(given, UDOCKER_REGISTRY_RETRIES="6")
    assert (config.registry_retries, config.registry_timeout) == (6, 7.0)


def test_udocker_dir_of_the_environment_has_its_own_file(files: Files) -> None:
    files.write(files.home / ".udocker", "topdir = /elsewhere")
    files.write(files.store, "http_insecure = True")
    config = files.read(UDOCKER_DIR=str(files.store))
    assert (config.udocker_dir, config.insecure) == (str(files.store), True)


def test_keys_that_have_no_meaning_here_are_logged_and_ignored(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    path = files.write(files.system, "proot_noseccomp = True", "bindir = %(nothing)s/bin", "timeout=3")
    with caplog.at_level(logging.DEBUG):
        assert files.read().registry_timeout == 3.0
    assert sorted(caplog.messages) == [
        f"configuration: {path}: bindir: has no meaning here",
        f"configuration: {path}: proot_noseccomp: has no meaning here",
    ]


def test_a_key_may_stand_for_another(files: Files) -> None:
    files.write(files.system, "root = /scratch", "topdir = %(root)s/udocker")
    assert files.read().udocker_dir == "/scratch/udocker"


@pytest.mark.parametrize(
    "text",
    ["topdir = /x", "[DEFAULT]\nnonsense", "[DEFAULT]\ntopdir = %(topdir)s/", "[DEFAULT]\ntimeout = x", "\0"],
)
def test_a_damaged_file_is_told_by_its_name(files: Files, text: str) -> None:
    path = files.write(files.system, head=text)
    with pytest.raises(ConfigError, match=str(path)):
        files.read()


def test_a_file_that_was_named_must_be_there(files: Files) -> None:
    with pytest.raises(ConfigError, match="missing"):
        files.read(Path("/nowhere/missing"))


def test_passwords_are_kept_at_home_wherever_the_store_is(files: Files) -> None:
    assert files.read(UDOCKER_DIR="/s").keystore == str(files.home / ".udocker" / "keystore")
    assert files.read(UDOCKER_KEYSTORE="/k").keystore == "/k"
    files.write(files.system, "keystore = mine")
    assert files.read().keystore == str(files.home / ".udocker" / "mine")


def test_what_nodes_keep_is_set_by_directory_bytes_and_seconds() -> None:
    environ = {"HOME": "/home/me", "UDOCKER_NODE_DIR": "/disk", "UDOCKER_NODE_MAX": "20G"}
    config = Config.from_environment({**environ, "UDOCKER_NODE_KEEP": "0", "UDOCKER_REGISTRY_PULLS": "2"})
    assert (config.node_dir, config.node_max, config.node_keep) == ("/disk", 20 << 30, 0)
    assert config.registry_pulls == 2
    for name, text in (
        ("UDOCKER_NODE_DIR", "disk"),
        ("UDOCKER_NODE_MAX", "all"),
        ("UDOCKER_NODE_KEEP", "-1"),
        ("UDOCKER_REGISTRY_PULLS", "0"),
    ):
        with pytest.raises(ConfigError, match=name):
            Config.from_environment({"HOME": "/home/me", name: text})
