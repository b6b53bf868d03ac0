"""The command line of ``udocker run``: every option of udocker 1.3.17, in every spelling it takes."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from udocker.cli import run
from udocker.cli.dockeronly import instead_of_command
from udocker.cli.main import COMMANDS, command_parser, main
from udocker.cli.parser import Parser
from udocker.errors import UsageError
from udocker.model.mount import Mount

# From the table of options in udocker 1.3.17's do_run: flags, then options with a value.
FLAGS = (
    "-i",
    "-t",
    "-a",
    "-P",
    "--publish-all",
    "--netcoop",
    "--hostauth",
    "--containerauth",
    "--nosysdirs",
    "--hostenv",
    "--bindhome",
    "--nometa",
    "--dri",
    "--nobanner",
    "--rm",
    "--pull",
)
VALUES = {
    "-p": "8080:8080",
    "--publish": "8080:8080",
    "--novol": "/proc",
    "-v": "/data:/mnt",
    "--volume": "/data",
    "-e": "A=x y",
    "--env": "A=1",
    "--env-file": "/dev/null",
    "-u": "root",
    "--user": "1:2",
    "-w": "/tmp",
    "--workdir": "/tmp",
    "--entrypoint": "sh -c",
    "--cpuset-cpus": "0,1-2",
    "--volumes-from": "other",
    "--dns": "1.1.1.1",
    "--dns-search": "example.org",
    "--kernel": "5.4.0",
    "--device": "/dev/null",
    "--platform": "linux/amd64",
    "--pull": "never",
    "--name": "box",
    "--location": "/tmp",
    "--index": "https://index",
    "--registry": "https://registry",
    "--httpproxy": "socks5://user:pass@host:1080",
}
REPEATED = ("-p", "--publish", "--novol", "-v", "--volume", "-e", "--env", "--env-file", "--device")


def parse(*words: str) -> argparse.Namespace:
    parser = Parser(prog="udocker run")
    run.add_arguments(parser)
    options = parser.parse_args(list(words))
    options.quiet = False
    run._settle_words(options)
    return options


def spellings() -> list[list[str]]:
    words = [[flag] for flag in FLAGS]
    for option, value in VALUES.items():
        words += [[f"{option}={value}"], [option, value], [option, value, f"{option}={value}"]]
    return words


@pytest.mark.parametrize("words", spellings(), ids=" ".join)
def test_every_option_of_udocker_is_accepted_in_every_spelling(words: list[str]) -> None:
    options = parse(*words, "image:tag", "program", "--rm", "-v")
    assert options.object == "image:tag"
    assert options.command == ["program", "--rm", "-v"]


@pytest.mark.parametrize("option", REPEATED)
def test_options_that_may_be_repeated_keep_every_value(option: str) -> None:
    value = VALUES[option]
    name = {"-p": "publish", "-v": "volume", "-e": "env"}.get(option, option.strip("-").replace("-", "_"))
    assert getattr(parse(f"{option}={value}", option, value, "image"), name) == [value, value]


@pytest.mark.parametrize("words", [["-it"], ["-ti"], ["-i", "-t"], ["-itP"], ["-itw", "/x"], ["-itv/a:/b"]])
def test_short_options_may_be_joined(words: list[str]) -> None:
    options = parse(*words, "image", "sh")
    assert (options.interactive, options.tty) == (True, True)
    assert (options.object, options.command) == ("image", ["sh"])


@pytest.mark.parametrize(
    ("words", "policy", "command"),
    [
        (["image"], "", []),
        (["--pull", "image"], "", []),
        (["--pull", "image", "never"], "", ["never"]),
        (["--pull", "--rm", "image", "sh"], "", ["sh"]),
        (["--pull=always", "image", "sh"], "always", ["sh"]),
        (["--pull", "never", "image", "sh"], "never", ["sh"]),
        (["-e=A=1", "--pull", "never", "--rm", "-e=B=2", "image", "sh", "--rm"], "never", ["sh", "--rm"]),
        (["--pull=reuse", "--name=x", "image"], "reuse", []),
        (["--pull=missing", "image"], "missing", []),
    ],
)
def test_pull_may_stand_alone_and_never_swallows_the_image(
    words: list[str], policy: str, command: list[str]
) -> None:
    options = parse(*words)
    assert (options.policy, options.object, options.command) == (policy, "image", command)


@pytest.mark.parametrize("words", [[], ["--rm"], ["--pull", "never"], ["--pull=sometimes", "image"]])
def test_a_command_line_without_an_image_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(*words)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--network=host", "share the host's network"),
        ("--hostname=here", "containers have the host's name"),
        ("-h here", "containers have the host's name"),
        ("-m", "sbatch --mem"),
        ("--gpus", "setup --nvidia"),
        ("--mount=type=bind,source=/a,target=/b", "--volume SOURCE:TARGET"),
        ("--detach-keys=ctrl-p", "nothing is detached by keys"),
        ("--nosuch", "see udocker run --help"),
    ],
)
def test_options_of_docker_that_mean_nothing_here_are_told_of(word: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"unrecognized arguments: {word}") as refused:
        parse(*word.split(), "image")
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    "words", [["-h", "a", "box", "sh"], ["-ha", "box"], ["--rm", "-h=a", "box", "sh", "-h"]]
)
@pytest.mark.parametrize("command", ["run", "create"])
def test_a_name_for_the_host_is_no_call_for_help(
    command: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in words if command == "run" or word not in ("--rm", "sh")]
    assert main([command, *words]) == 125
    out, error = capsys.readouterr()
    assert (out, error.splitlines()[0]) == ("", f"udocker: {command}: unrecognized arguments: -h a")
    assert "containers have the host's name" in error


def test_capitals_in_an_images_name_are_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UDOCKER_DIR", str(tmp_path))
    assert main(["run", "Debian:12", "sh"]) == 125
    assert capsys.readouterr().err == (
        "udocker: run: 'Debian:12': no such container, and not an image reference\n"
        "  hint: names of images are in lower case: debian:12\n"
    )


@pytest.mark.parametrize("line", ["run -q box true", "run --quiet box", "create -q image"])
def test_progress_can_be_left_out_after_the_command_as_well(line: str) -> None:
    name, *words = line.split()
    assert command_parser(name).parse_args(words).quiet is True


def test_what_follows_the_container_is_the_programs() -> None:
    assert parse("image", "df", "-h", "here").command == ["df", "-h", "here"]


def test_no_command_that_is_here_is_told_to_be_dockers() -> None:
    assert [name for name in COMMANDS if instead_of_command(name)] == []


def test_a_location_needs_no_container() -> None:
    assert parse("--location=/tmp").location == "/tmp"


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("", ()), ("sh", ("sh",)), ("python3 -u", ("python3", "-u")), ("'a b' c", ("a b", "c"))],
)
def test_an_entry_point_is_split_as_a_shell_would(text: str, expected: object) -> None:
    words = [] if text is None else ["--entrypoint", text]
    assert run._spec(parse(*words, "image")).entrypoint == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/usr/bin", Mount("/usr/bin", "/usr/bin")),
        ("/usr/bin:", Mount("/usr/bin", "/usr/bin")),
        ("/usr/bin/:/c/", Mount("/usr/bin", "/c")),
        ("/usr:/b:ro", Mount("/usr", "/b", True)),
        ("/usr:ro", Mount("/usr", "/usr", True)),
        ("bin", Mount("/usr/bin", "/usr/bin")),
        ("./bin/..:/b", Mount("/usr", "/b")),
    ],
)
def test_a_volume_is_read_as_udocker_and_docker_read_it(
    text: str, expected: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/usr")
    assert run._spec(parse("-v", text, "image")).mounts == (expected,)


def test_a_volume_that_the_host_lacks_is_refused_unless_hosts_may_lack_it() -> None:
    with pytest.raises(UsageError, match="/no/such: not on this host"):
        run._spec(parse("-v", "/no/such:/x", "image"))
    assert run._spec(parse("-v", "/usr/lib/dri/", "-v", "/usr", "image")).mounts[-1] == Mount("/usr", "/usr")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/dev/fuse", Mount("/dev/fuse", "/dev/fuse")),
        ("/dev/a:/dev/b", Mount("/dev/a", "/dev/b")),
        ("/dev/a:/b:r", Mount("/dev/a", "/b")),
        ("/dev/a:rwm", Mount("/dev/a", "/dev/a")),
    ],
)
def test_a_device_is_read_as_docker_reads_it(text: str, expected: Mount) -> None:
    assert run._spec(parse("--device", text, "image")).devices == (expected,)


@pytest.mark.parametrize(
    "text", ["fuse", "/etc/passwd", "/dev/../etc/passwd", "/dev/a:/b:x", "/dev/a:/b:/c:r"]
)
def test_what_is_no_device_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="device"):
        run._spec(parse("--device", text, "image"))
