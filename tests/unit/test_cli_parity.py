"""Every command line that udocker 1.3.17 takes is taken here, and what scripts read looks the same.

The tables were read from its cmdparser.py and cli.py: ``--name=`` there means ``--name=X`` and ``--name X``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from udocker.cli.main import COMMANDS, command_parser, main
from udocker.store.paths import StorePaths

ID = "5b0f6d3c-2f43-4b38-9c4e-7f6c19a0f1de"
# Of each command: flags, options with a value, and its arguments in their order.
SYNTAX = {
    "search": ("-a --no-trunc --list-tags", "--index= --registry= --httpproxy=", "expression"),
    "pull": ("", "--index= --registry= --httpproxy= --platform=", "image:1"),
    "images": ("-l -p --no-trunc --all", "", ""),
    "create": ("--force", "--name=", "image:1"),
    "ps": ("-m -s -p", "", ""),
    "rm": ("-f", "", "one two"),
    "rmi": ("-f", "", "image:1"),
    "inspect": ("-p", "", "box"),
    "name": ("", "", f"{ID} box"),
    "rmname": ("", "", "box"),
    "rename": ("", "", "box new"),
    "verify": ("", "", "image:1"),
    "import": ("--mv --tocontainer", "--name= --platform=", "file.tar image:1"),
    "export": ("", "", "box"),
    "load": ("", "--input= -i=", "image"),
    "save": ("", "--output= -o=", "image:1 other:2"),
    "clone": ("", "--name=", "box"),
    "tag": ("", "", "image:1 other:2"),
    "protect": ("", "", "box"),
    "unprotect": ("", "", "box"),
    "mkrepo": ("", "", "/directory"),
    "setup": ("--force --nvidia --purge --fixperm", "--execmode=", "box"),
    "login": ("--password-stdin", "--username= --registry=", ""),
    "logout": ("-a", "--registry=", ""),
    "manifest": ("", "--index= --registry= --httpproxy= --platform=", "inspect image:1"),
    "install": ("--force --purge", "", ""),
    "showconf": ("", "", ""),
    "version": ("", "", ""),
    "run": (
        "--rm --hostauth --containerauth --nosysdirs --nometa --dri --hostenv --bindhome --nobanner -i -t -P"
        " --publish-all --netcoop --pull",
        "--workdir= -w= --user= -u= --volume= -v= --novol= --env= -e= --cpuset-cpus= --name= --kernel="
        " --device= --location= --entrypoint= --platform= --httpproxy= --index= --registry= --publish= -p="
        " --env-file= --volumes-from= --dns= --dns-search=",
        "box true -x --y",
    ),
}
# Words that have to be right for the option to be.
VALUES = {"--platform=": "linux/arm64", "--execmode=": "R1", "--publish=": "80:80", "-p=": "80:80"}
OTHERS = [
    "import - image:1",
    "import --mv file.tar image:1",
    "import --tocontainer --name=box file.tar",
    "import --tocontainer --name=box -",
    "export -o file.tar box",
    "export - box",
    "load",
    "load -",
    "load - image",
    "load -i file.tar",
    "load -i - image",
    "save - image:1",
    "save -o file.tar image:1",
    "login --username=me --password=secret",
    "run --pull=always image:1",
    "run --pull=reuse --name=box image:1",
    "run --entrypoint= box",
]


def _lines() -> list[str]:
    lines = list(OTHERS)
    for command, (flags, valued, places) in SYNTAX.items():
        lines.append(f"{command} {places}")
        lines += [f"{command} {flag} {places}" for flag in flags.split()]
        for option in valued.split():
            value = VALUES.get(option, "value")
            lines.append(f"{command} {option}{value} {places}")
            lines.append(f"{command} {option[:-1]} {value} {places}")
    return lines


@pytest.mark.parametrize("line", _lines())
def test_a_command_line_is_taken(line: str) -> None:
    name, *arguments = line.split()
    options = vars(command_parser(name).parse_args(arguments))
    if "value" in arguments or any(word.endswith("=value") for word in arguments):
        taken = [
            item for value in options.values() for item in (value if isinstance(value, list) else [value])
        ]
        assert "value" in taken


def test_every_command_is_there() -> None:
    assert SYNTAX.keys() <= COMMANDS.keys()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of one container with two names and one image."""
    paths = StorePaths(tmp_path / "store")
    paths.create()
    directory = paths.containers / ID
    (directory / "ROOT").mkdir(parents=True)
    (directory / "container.json").write_text(json.dumps({"os": "linux", "architecture": "amd64", "b": 1}))
    (directory / "imagerepo.name").write_text("image:1")
    for name in ("box", "second"):
        (paths.containers / name).symlink_to(ID)
    image = paths.repos / "image" / "1"
    image.mkdir(parents=True)
    (image / "TAG").touch()
    (image / "layer").symlink_to(directory / "imagerepo.name")
    for name in ("UDOCKER_DIR", "UDOCKER_LOGLEVEL", "UDOCKER_TARBALL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return paths.root


FORMATS = [
    (
        "ps",
        r"CONTAINER ID {25}P M NAMES {14}IMAGE {15,16}\n[0-9a-f-]{36} \. W \['box', 'second'\]  image:1 *\n",
    ),
    (
        "ps -m -s -p",
        r"CONTAINER ID +P M MOD SIZE PLATFORM +NAMES +IMAGE *\n"
        r"[0-9a-f-]{36} \. W (?:R1|T2) +\d+ linux/amd64 {8}\['box', 'second'\]  image:1 *\n",
    ),
    ("images", r"REPOSITORY\nimage:1    \.\n"),
    ("images -q", r"image:1\n"),
    ("images -aq --no-trunc", r"image:1\n"),
    ("images image", r"REPOSITORY\nimage:1    \.\n"),
    ("images -q image:1", r"image:1\n"),
    ("images -q image:2", ""),
    ("rm -f -v box", rf"{ID}\n"),
    ("ps -aq", r"[0-9a-f-]{36}\n"),
    ("ps -q", ""),
    ("images -p", r"REPOSITORY\n\S{1,18} {2,18}\. image:1\n"),
    ("images -l", r"REPOSITORY\nimage:1    \.\n /\S+/repos/image/1\n    /layer \(\d+ MB\)\n"),
    ("inspect box", r'\{\n    "architecture": "amd64",\n    "b": 1,\n    "os": "linux"\n\}\n'),
    ("inspect -p box", rf"/\S+/containers/{ID}/ROOT\n"),
    ("version", r"version: \S+\ntarball:.*\ntarball_release: \S+\n(.+\n)*"),
    ("showconf", r"(.*\n)*topdir = /\S+/store\n(.*\n)*"),
    ("name box third", ""),
    ("protect box", ""),
]


@pytest.mark.parametrize(("line", "expected"), FORMATS)
@pytest.mark.parametrize("repo", ["--repo={}", "--repo {}", "-q --allow-root --repo={}"])
def test_what_scripts_read_looks_as_in_udocker_1_3(
    store: Path, capsys: pytest.CaptureFixture[str], repo: str, line: str, expected: str
) -> None:
    assert main([*repo.format(store).split(), *line.split()]) == 0
    assert re.fullmatch(expected, capsys.readouterr().out)


@pytest.mark.parametrize(
    "line",
    ["", "help", "-h", "--help", "-D --help", "help ps", "ps --help", "ps -h", "exec -h"]
    + ["run -h", "run --help", "run --rm --help", "create -h", "create --help", "help run"],
)
def test_help_is_given_in_every_way(capsys: pytest.CaptureFixture[str], line: str) -> None:
    try:
        status = main(line.split())
    except SystemExit as error:  # argparse leaves so after its help
        status = int(error.code or 0)
    assert status == 0
    assert capsys.readouterr().out.startswith("usage: udocker ")


@pytest.mark.parametrize("line", ["-V", "--version", "version", "-q -V"])
def test_the_version_is_in_the_first_line(capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert main(line.split()) == 0
    assert capsys.readouterr().out.startswith("version: ")


@pytest.mark.parametrize(
    "line",
    ["--repo=/nowhere/at/all ps", "--repo", "--nosuch ps", "nosuch", "ps --nosuch", "rm", "inspect nothing"],
)
def test_a_failure_is_125(store: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    words = line.split() if "repo" in line else [f"--repo={store}", *line.split()]
    assert main(words) == 125
    assert capsys.readouterr().err.startswith("udocker: ")


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("pul busybox", "did you mean udocker pull?"),
        ("exce box true", "did you mean udocker exec?"),
        ("--rep=/x ps", "did you mean --repo?"),
        ("--quite ps", "did you mean --quiet?"),
        ("ps --sizes", "did you mean --size?"),
        ("run --volum=/a:/b box", "did you mean --volume?"),
        ("create --nam box image", "did you mean --name?"),
        ("run --memmory=1g box", "see udocker run --help"),
        ("start box", "udocker run CONTAINER runs it again, with -d in the background"),
        ("info", "udocker version, udocker doctor and udocker showconf"),
        ("logs --until 1s box", "see udocker logs --help"),
        ("xyzzy", "see udocker --help"),
        ("ps --xyzzy", "see udocker ps --help"),
        ("ps -x", "see udocker ps --help"),
    ],
)
def test_what_is_mistyped_is_answered_with_what_was_meant(
    capsys: pytest.CaptureFixture[str], line: str, hint: str
) -> None:
    assert main(line.split()) == 125
    assert capsys.readouterr().err.splitlines()[1:] == [f"  hint: {hint}"]


def test_another_place_for_a_part_of_the_store_is_refused(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UDOCKER_CONTAINERS", str(store / "containers"))
    assert main([f"--repo={store}", "ps"]) == 0
    monkeypatch.setenv("UDOCKER_CONTAINERS", "/elsewhere")
    assert main([f"--repo={store}", "ps"]) == 125
    assert "UDOCKER_CONTAINERS='/elsewhere'" in capsys.readouterr().err


@pytest.mark.parametrize(("level", "status"), [("5", 0), ("-1", 0), ("6", 125), ("x", 125)])
def test_udocker_loglevel_is_a_number_of_udocker_1_3(
    store: Path, monkeypatch: pytest.MonkeyPatch, level: str, status: int
) -> None:
    monkeypatch.setenv("UDOCKER_LOGLEVEL", level)
    assert main([f"--repo={store}", "ps"]) == status
