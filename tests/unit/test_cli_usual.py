"""Command lines read without argparse mean what they mean to argparse."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udocker.cli.main import command_parser
from udocker.cli.parser import Parser
from udocker.cli.run import add_arguments
from udocker.cli.usual import Declarations
from udocker.errors import UsageError

_OPTIONS = sorted(
    name
    for action in command_parser("run")._actions
    for name in action.option_strings
    if name not in ("-h", "--help")
)
_TEXTS = st.sampled_from(
    ["", "a", "A=b c", "/x:/y:ro", "-", "-e", "-1", "--", "--name", "always", "=", "é\udcff"]
)
_WORDS = st.one_of(
    st.sampled_from([*_OPTIONS, "--h", "--en", "-it", "-x", "-e=A", "-eA=1", "--rm=1"]),
    st.builds("{}={}".format, st.sampled_from(_OPTIONS), _TEXTS),
    _TEXTS,
    st.text(max_size=4),
)


def usual(words: list[str]) -> object:
    declared = Declarations()
    add_arguments(declared)
    options = declared.read(words)
    return None if options is None else vars(options)


def by_argparse(words: list[str]) -> object:
    parser = Parser(prog="udocker run", add_help=False)
    add_arguments(parser)
    try:
        return vars(parser.parse_args(words))
    except UsageError as error:
        return error.message


@settings(max_examples=500, deadline=None)
@given(st.lists(_WORDS, max_size=8))
def test_what_is_read_without_argparse_is_read_as_argparse_reads_it(words: list[str]) -> None:
    found = usual(words)
    assert found is None or found == by_argparse(words)


@pytest.mark.parametrize(
    "line",
    [
        '["box"]',
        '["box", "sh", "-c", "exit 3"]',
        '["--rm", "-i", "-t", "--pull=always", "busybox:1", "ls", "-l", "--all"]',
        '["-e", "A=1", "--env=B=-2", "--volume=/a:/b", "-v", "/c", "--workdir", "/b", "box", "env"]',
        '["--user=me:us", "--hostauth", "--nobanner", "--location", "/r", "true"]',
    ],
)
def test_usual_lines_need_no_argparse(line: str) -> None:
    words = json.loads(line)
    found = usual(words)
    assert found is not None
    assert found == by_argparse(words)


@pytest.mark.parametrize(
    "line",
    ["", "--help", "-h", "--rm", "--nothing box", "--rm=1 box", "-it box", "-e", "-- box", "--name=-- box"],
)
def test_other_lines_are_left_to_argparse(line: str) -> None:
    assert usual(line.split()) is None
