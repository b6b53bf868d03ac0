"""Settings from the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from udocker.config import Config
from udocker.errors import ConfigError

NOBODY_KNOWN = 2**31 - 7  # no passwd entry has it


def test_udocker_dir_is_below_home_where_it_is_not_set() -> None:
    assert Config.from_environment({"HOME": "/h"}).udocker_dir == Path("/h/.udocker")
    assert Config.from_environment({"HOME": "/h", "UDOCKER_DIR": "/s"}).udocker_dir == Path("/s")


def test_a_user_without_a_home_is_told_to_set_udocker_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: NOBODY_KNOWN)
    with pytest.raises(ConfigError, match="UDOCKER_DIR"):
        Config.from_environment({})
    config = Config.from_environment({"UDOCKER_DIR": "/s"})
    assert (config.udocker_dir, config.docker_config) == (Path("/s"), None)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e308", "x", "\udcff"])
def test_a_time_that_no_timer_takes_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="UDOCKER_REGISTRY_TIMEOUT"):
        Config.from_environment({"HOME": "/h", "UDOCKER_REGISTRY_TIMEOUT": text})
