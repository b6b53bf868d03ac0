"""Values of ``udocker run``'s options, and what they do to the plan of a run."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.test_run_plan import CHOICE, FACTS, container
from udocker.config import Config
from udocker.engine.base import Launch, Process
from udocker.engine.ports import encode
from udocker.engine.select import preferred_modes
from udocker.errors import ConfigError, EngineError, UsageError
from udocker.model.container import Container
from udocker.model.cpus import format_cpus, parse_cpus
from udocker.model.mode import ExecutionMode
from udocker.model.mount import Mount
from udocker.model.port import PublishedPort
from udocker.model.runspec import RunSpec
from udocker.run.affinity import restrict_to
from udocker.run.envfile import read_env_file
from udocker.run.modes import effective_mode, mode_of
from udocker.run.mounts import plan_devices, plan_mounts, plan_volumes
from udocker.run.plan import plan_process, plan_run
from udocker.run.ports import published


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", {0}), ("0,2", {0, 2}), ("4-7,1", {1, 4, 5, 6, 7}), ("3-3", {3}), (" 1, 2 ", {1, 2})],
)
def test_a_list_of_processors_is_read(text: str, expected: set[int]) -> None:
    assert parse_cpus(text) == expected


@pytest.mark.parametrize(
    "text", ["", ",", "a", "1-", "-1", "3-1", "1-2-3", "0x1", "\u0661", "1,", "0-99999999", "9" * 5000]
)
def test_what_is_no_list_of_processors_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cpuset"):
        parse_cpus(text)


@given(st.frozensets(st.integers(0, 300), min_size=1))
def test_a_list_of_processors_comes_back_as_it_was(cpus: frozenset[int]) -> None:
    assert parse_cpus(format_cpus(cpus)) == cpus


def test_processors_that_are_not_there_are_refused_with_those_that_are() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        with pytest.raises(UsageError, match="not available") as caught:
            restrict_to(frozenset({min(allowed), 60000}))
    finally:
        os.sched_setaffinity(0, allowed)
    assert format_cpus(frozenset(allowed)) in caught.value.hint


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("8080:8080", False),
        ("8080", False),
        ("8080:8080/tcp", False),
        ("53:53/UDP", False),
        ("80-90:80-90", False),
        (":80", False),
        ("80:8080", True),
        ("8000-8002:9000-9002", True),
        ("127.0.0.1:8080:8080", True),
        ("127.0.0.1::8080", True),
        ("[::1]:8080:8080", True),
    ],
)
def test_a_published_port_that_keeps_its_number_needs_nothing(text: str, mapped: bool) -> None:
    assert PublishedPort.parse(text).is_mapped is mapped


@pytest.mark.parametrize(
    "text",
    ["80", "80:8080", "80/udp", "8000-8002:9000-9002", "127.0.0.1:1:2/sctp", "[::1]:1:2", "127.0.0.1::80"],
)
def test_a_published_port_is_written_as_it_is_read(text: str) -> None:
    assert str(PublishedPort.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "encoded", "shown"),
    [
        ("8080:80", "6/80-80/8080/", (("80/tcp", "0.0.0.0:8080"),)),
        ("[::1]:9:7/udp", "17/7-7/9/" + "0" * 31 + "1", (("7/udp", "[::1]:9"),)),
        (
            "127.0.0.1:1000-1001:80-81",
            "6/80-81/1000/00000000000000000000ffff7f000001",
            (("80/tcp", "127.0.0.1:1000"), ("81/tcp", "127.0.0.1:1001")),
        ),
    ],
)
def test_a_launcher_is_told_of_ports(text: str, encoded: str, shown: tuple[tuple[str, str], ...]) -> None:
    assert encode([PublishedPort.parse(text)]) == encoded
    assert published(Launch(("launcher", "--ports", encoded, "--", "x"), {}, "/")) == shown
    assert published(Launch(("launcher", "--", "--ports", encoded), {}, "/")) == ()


@pytest.mark.parametrize(
    "text", ["", ":", "a", "80:", "80:b", "70000", "1:2-3", "5-4", "80/icmp", "80:80/", "-1", "9" * 5000]
)
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="publish"):
        PublishedPort.parse(text)


def test_a_file_of_variables_is_read_as_docker_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes(
        b"\xef\xbb\xbfA=1\n# comment\n\n  # another\n  B= two words \nC=\nD='x=y'\r\nHERE\nMISSING\nE=caf\xe9"
    )
    assert read_env_file(str(file), {"HERE": "value"}) == (
        ("A", "1"),
        ("B", " two words "),
        ("C", ""),
        ("D", "'x=y'"),
        ("HERE", "value"),
        ("E", os.fsdecode(b"caf\xe9")),
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"A=1\n=x\n", "line 2: no name"),
        (b"A=1\n\nB C=1\n", "line 3: 'B C': a name with blanks"),
        (b"A\0B=1\n", "line 1: a NUL byte"),
        (b"export A=1\n", "line 1"),
    ],
)
def test_a_bad_line_in_a_file_of_variables_is_told_by_its_number(
    tmp_path: Path, data: bytes, words: str
) -> None:
    (tmp_path / "env").write_bytes(data)
    with pytest.raises(UsageError, match=words):
        read_env_file(str(tmp_path / "env"), {})


def test_a_file_of_variables_that_is_missing_or_endless_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_env_file(str(tmp_path / "env"), {})
    with pytest.raises(UsageError, match="directory"):
        read_env_file(str(tmp_path), {})
    with pytest.raises(UsageError, match="larger"):
        read_env_file("/dev/zero", {})


def test_mounts_can_be_excluded_by_source_or_in_full(caplog: pytest.LogCaptureFixture) -> None:
    mounts = (Mount("/data", "/a"), Mount("/data", "/b"), Mount("/other", "/c"))
    made = plan_mounts(mounts, True, FACTS, ["/proc", "/sys/", "/data:/b", "/other"])
    assert [mount.target for mount in made] == ["/dev", "/a", "/etc/resolv.conf", "/etc/hosts"]
    assert caplog.messages == []
    with caplog.at_level(logging.WARNING):
        plan_mounts((), True, FACTS, ["/nothing"])
    assert caplog.messages == ["run: --novol /nothing: nothing that would be mounted"]


def test_the_same_mount_may_be_given_twice() -> None:
    assert plan_mounts([Mount("/a", "/b")] * 2, False, FACTS) == (Mount("/a", "/b"),)


def test_a_device_is_bound_only_where_the_hosts_dev_does_not_show_it() -> None:
    null, here = Mount("/dev/null", "/dev/null"), Mount("/dev/null", "/data/null")
    assert plan_devices([null, here], True) == (here,)
    assert plan_devices([null, here], False) == (null, here)
    assert plan_devices([Mount("/dev/null", "/dev/zero")], True) == (Mount("/dev/null", "/dev/zero"),)
    with pytest.raises(UsageError, match="no such device"):
        plan_devices([Mount("/dev/nosuch", "/dev/nosuch")], True)
    with pytest.raises(UsageError, match="shown as it is"):
        plan_devices([Mount("/dev/null", "/dev/nosuch")], True)


def test_volumes_that_lie_in_a_mount_are_its_own_affair() -> None:
    mounts = (Mount("/x", "/data"),)
    wanted = ["/data", "/data/deep", "/database", "relative", "/", "//twice//", "/twice"]
    assert plan_volumes(wanted, mounts) == ("/database", "/relative", "/twice")


def process(root: Path, spec: RunSpec, **config: Any) -> Process:
    environ = {"PATH": "/host", "HOME": "/host", "MINE": "1", "VTE_VERSION": "1", "A": "host"}
    return plan_process(container(root, **config), spec, environ, FACTS, CHOICE[0].abilities)


def test_the_hosts_environment_passes_where_it_is_asked_for_and_loses(tmp_path: Path) -> None:
    spec = RunSpec(("true",), host_env=True, env=(("B", "user"),))
    env = process(tmp_path, spec, env=(("A", "image"),)).env
    assert (env["MINE"], env["A"], env["B"], env["HOME"]) == ("1", "image", "user", "/")
    assert env["PATH"] != "/host"
    assert "VTE_VERSION" not in env
    assert "MINE" not in process(tmp_path, replace(spec, host_env=False)).env


def test_a_location_has_no_metadata_and_starts_a_shell(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").touch()
    made = Container.at_location("/", str(tmp_path))
    assert made.root == str(tmp_path)
    assert plan_process(made, RunSpec(), {}, FACTS, CHOICE[0].abilities).argv == ("/bin/sh",)
    with pytest.raises(UsageError, match="no command"):
        plan_process(made, RunSpec(entrypoint=()), {}, FACTS, CHOICE[0].abilities)


@pytest.mark.parametrize("location", ["nosuch", "/etc/passwd", "a\0b"])
def test_a_location_that_is_no_directory_is_refused(location: str) -> None:
    with pytest.raises(UsageError, match="not a directory"):
        Container.at_location("/tmp", location)


def recorded(tmp_path: Path, text: str) -> Container:
    (tmp_path / "execmode").write_text(text)
    return container(tmp_path)


DEFAULT = preferred_modes()[0].value


@pytest.mark.parametrize(
    ("text", "configured", "asked", "expected", "shown"),
    [
        ("", "", None, None, DEFAULT),
        ("P1", "", None, "P1", "P1"),
        ("P2\n", "R1", None, "P2", "P2"),
        ("R2", "", None, None, "R2"),
        ("S1", "", None, None, "S1"),
        ("R1", "P1", None, "R1", "R1"),
        ("", "P1", None, "P1", "P1"),
        ("", "r1", None, "R1", "R1"),
        ("P1", "", "R1", "R1", "P1"),
        ("T1", "", None, "T1", "T1"),
        ("T2", "T1", None, "T2", "T2"),
        ("F3", "T1", None, "T1", "F3"),
        ("T2", "", "R1", "R1", "T2"),
    ],
)
def test_a_mode_of_another_engine_does_not_hinder(
    tmp_path: Path, text: str, configured: str, asked: str, expected: str, shown: str
) -> None:
    config = Config(udocker_dir=tmp_path, execution_mode=configured)
    made = recorded(tmp_path, text)
    mode = mode_of(config, made, ExecutionMode(asked) if asked else None)
    assert mode == (ExecutionMode(expected) if expected else None)
    assert effective_mode(config, made) == ExecutionMode(shown)


@pytest.mark.parametrize("text", ["F1", "F2", "F3", "F4"])
def test_a_container_that_another_udocker_patched_is_told_how_to_get_back(tmp_path: Path, text: str) -> None:
    made = recorded(tmp_path, text)
    with pytest.raises(EngineError, match=f"execution mode {text}, which changed its files") as caught:
        plan_run(Config(udocker_dir=tmp_path), made, RunSpec(("true",)), {}, FACTS, CHOICE)
    assert "setup --execmode=P1" in caught.value.hint


def test_a_patched_container_finds_its_root_and_its_loader_at_the_paths_of_the_host(tmp_path: Path) -> None:
    made = recorded(tmp_path, "F3")
    (tmp_path / "root.path").write_text("/old/ROOT\n")
    (tmp_path / "patch.path").write_text("/older")
    (tmp_path / "ld.so.path").write_text("/lib64/ld.so")
    (tmp_path / "ld.so.orig").write_text("loader")
    argv = plan_run(Config(udocker_dir=tmp_path), made, RunSpec(("true",)), {}, FACTS, CHOICE).argv
    words = " ".join(argv)
    root, loader = tmp_path / "ROOT", tmp_path / "ld.so.orig"
    assert f"--bind {root} /old/ROOT --bind {root} /older/ROOT --bind /proc /proc" in words
    assert "--bind /proc /old/ROOT/proc" in words
    for target in ("/lib64/ld.so", "/old/ROOT/lib64/ld.so", "/older/ROOT/lib64/ld.so"):
        assert f"--extend {loader} {target}  " in words


@pytest.mark.parametrize("text", ["", "relative", "/", "/a\0b", "/a\n/b"])
def test_a_record_of_a_root_that_is_no_path_counts_as_missing(tmp_path: Path, text: str) -> None:
    made = recorded(tmp_path, "F1")
    (tmp_path / "root.path").write_text(text)
    with pytest.raises(EngineError, match="changed its files"):
        plan_run(Config(udocker_dir=tmp_path), made, RunSpec(("true",)), {}, FACTS, CHOICE)


def test_a_configured_mode_that_nobody_knows_is_told_by_its_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="UDOCKER_DEFAULT_EXECUTION_MODE"):
        mode_of(Config(udocker_dir=tmp_path, execution_mode="X1"), container(tmp_path), None)
