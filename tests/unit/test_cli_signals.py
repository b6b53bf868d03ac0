"""Words of the command line that are read generously: signals, and commands that were mistyped."""

from __future__ import annotations

import signal

import pytest

from udocker.cli.main import main
from udocker.cli.signals import signal_number
from udocker.errors import UsageError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("TERM", signal.SIGTERM),
        ("sigusr1", signal.SIGUSR1),
        ("9", signal.SIGKILL),
        ("RTMIN+3", signal.SIGRTMIN + 3),
        ("SIGRTMAX-1", signal.SIGRTMAX - 1),
    ],
)
def test_a_signal_is_read_as_docker_reads_it(text: str, number: int) -> None:
    assert signal_number("kill", text) == number


@pytest.mark.parametrize("text", ["", "0", "99", "NOPE", "SIG", "name", "__class__", "RTMIN+99"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a signal"):
        signal_number("kill", text)


@pytest.mark.parametrize(("word", "near"), [("pul", "pull"), ("exce", "exec"), ("imges", "images")])
def test_a_mistyped_command_gets_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str], word: str, near: str
) -> None:
    assert main([word]) == 125
    assert f"did you mean udocker {near}?" in capsys.readouterr().err
