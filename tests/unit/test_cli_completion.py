"""Completion of command lines in a real bash and a real zsh."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Callable

import pytest

from tests.services.needs import need_command
from udocker.store.paths import StorePaths

ID = "5b0f6d3c-2f43-4b38-9c4e-7f6c19a0f1de"
# A name that does something where a shell expands it.
EVIL = "box$(touch${IFS}pwned);`touch${IFS}pwned`"
Complete = Callable[..., list[str]]

BASH = r"""
eval "$(udocker completion bash)"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_udocker
printf '%s\n' "${COMPREPLY[@]}"
"""
# zsh completes in its line editor alone: one in a pseudo-terminal tells what it would add.
ZSH = r"""
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "PS1= PS2= RPS1=; cd $PWD; autoload -Uz compinit; compinit -u -d $PWD/.zcompdump"
zpty -w shell 'eval "$(udocker completion zsh)"'
zpty -w shell 'compadd() { local -a all; builtin compadd -O all "$@"; print -rl -- $all >>found; }'
zpty -w shell 'list() { _udocker; : >done }; zle -C list list-choices list; bindkey "^X" list; : >ready'
while [[ ! -e ready ]]; do zpty -r -t shell line || sleep 0.01; done
zpty -w -n shell "$1"$'\x18'
while [[ ! -e done ]]; do zpty -r -t shell line || sleep 0.01; done
zpty -d shell
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A directory with files, and a store with two names of one container and an image."""
    paths = StorePaths(tmp_path / "store")
    paths.create()
    (paths.containers / ID / "ROOT").mkdir(parents=True)
    for name in ("mine", EVIL):
        (paths.containers / name).symlink_to(ID)
    image = paths.repos / "host:5000/team/app" / "1.0"
    image.mkdir(parents=True)
    (image / "TAG").touch()
    work = tmp_path / "work"
    work.mkdir()
    (work / "archive.tar").touch()
    return work


@pytest.fixture
def environment(work: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(work), "UDOCKER_DIR": str(work.parent / "store"), "TERM": "dumb"}


@pytest.fixture
def bash(work: Path, environment: dict[str, str]) -> Complete:
    """What bash would complete the words to; the last is that at the cursor."""

    def complete(*words: str) -> list[str]:
        argv = ["bash", "--norc", "-c", BASH, "udocker", "udocker", *words]
        done = subprocess.run(argv, cwd=work, env=environment, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert not (work / "pwned").exists()
        return [line for line in done.stdout.splitlines() if line]

    return complete


@pytest.fixture
def zsh(work: Path, environment: dict[str, str]) -> Complete:
    """What zsh would complete a command line to."""
    program = need_command("zsh", "zsh")

    def complete(*words: str) -> list[str]:
        line = " ".join(["udocker", *words])
        subprocess.run([program, "-f", "-c", ZSH, "zsh", line], cwd=work, env=environment, check=True)
        assert not (work / "pwned").exists()
        found = (work / "found").read_text() if (work / "found").exists() else ""
        return [name for name in found.splitlines() if name]

    return complete


CASES = [
    (["ren"], ["rename"]),
    (["--ver"], ["--version"]),
    (["ps", "--pl"], ["--platform"]),
    (["help", "log"], ["logs", "login", "logout"]),
    (["rm", "m"], ["mine"]),
    (["rm", "-f", "5b"], [ID]),
    (["inspect", "-p", "min"], ["mine"]),
    (["manifest", "i"], ["inspect"]),
    (["run", "--name", "x", "--rm", "mi"], ["mine"]),
    (["run", "mine", "--rm", "arch"], ["archive.tar"]),
    (["run", "mine", "--r"], []),
    (["exec", "-w", "/tmp", "mi"], ["mine"]),
    (["exec", "mine", "--e"], []),
    (["stop", "--t"], ["--time", "--timeout"]),
    (["load", "-i", "arch"], ["archive.tar"]),
    (["nosuch", "m"], []),
]


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_bash_completes(bash: Complete, words: list[str], expected: list[str]) -> None:
    assert bash(*words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rmi", "host"], ["host:5000/team/app:1.0"]),
        (["rmi", "host", ":", "50"], ["5000/team/app:1.0"]),
        (["rmi", "host", ":", "5000/team/app", ":"], ["1.0"]),
        (["save", "--output", "=", "arch"], ["archive.tar"]),
        (["--repo", "=", "/nowhere", "rm", "m"], []),
    ],
)
def test_bash_completes_where_it_splits_words(bash: Complete, words: list[str], expected: list[str]) -> None:
    assert [reply.replace("\\", "") for reply in bash(*words)] == expected


@pytest.mark.parametrize(("words", "expected"), [CASES[number] for number in (0, 2, 3, 5, 8)])
def test_zsh_completes(zsh: Complete, words: list[str], expected: list[str]) -> None:
    assert zsh(*words) == expected


def test_a_name_is_never_code_in_bash(bash: Complete) -> None:
    (reply,) = bash("run", "bo")
    assert shlex.split(reply) == [EVIL]


def test_a_name_is_never_code_in_zsh(zsh: Complete) -> None:
    assert zsh("run", "bo") == [EVIL]
