"""docker's rules for what a run executes."""

from __future__ import annotations

import logging
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

import pytest

from udocker.config import Config
from udocker.engine.base import Identity, Launch, Process
from udocker.engine.trap import TrapEngine
from udocker.engine.userns import UsernsEngine
from udocker.errors import StoreCorrupt, UsageError
from udocker.model.container import Container
from udocker.model.manifest import ImageConfig, Platform
from udocker.model.mode import ExecutionMode
from udocker.model.mount import Mount
from udocker.model.runspec import RunSpec
from udocker.run import foreign
from udocker.run.environment import DEFAULT_PATH, build_environment
from udocker.run.mounts import plan_mounts
from udocker.run.plan import plan_process, plan_run
from udocker.system import emulators
from udocker.system.emulators import Emulator, find_emulator
from udocker.system.host import HostFacts

FACTS = HostFacts("node7", False, ("/proc", "/dev", "/sys", "/etc/resolv.conf", "/etc/hosts"))
CHOICE = (UsernsEngine(Path("/launcher")), ExecutionMode.R1)


def container(root: Path, **config: Any) -> Container:
    (root / "ROOT").mkdir(exist_ok=True)
    platform = config.pop("platform", Platform("linux", "amd64"))
    return Container("id", str(root), "image:latest", ImageConfig(document={}, platform=platform, **config))


def process(root: Path, spec: RunSpec, **config: Any) -> Process:
    return plan_process(container(root, **config), spec, {}, FACTS, CHOICE[0].abilities)


@pytest.mark.parametrize(
    ("entrypoint", "command", "expected"),
    [
        (None, (), ("entry", "default")),
        (None, ("mine",), ("entry", "mine")),
        (("new",), (), ("new",)),
        (("new", "-x"), ("mine",), ("new", "-x", "mine")),
        ((), ("mine",), ("mine",)),
    ],
)
def test_command_line_follows_dockers_rules(
    tmp_path: Path, entrypoint: Any, command: Any, expected: tuple[str, ...]
) -> None:
    spec = RunSpec(command=command, entrypoint=entrypoint)
    assert process(tmp_path, spec, entrypoint=("entry",), cmd=("default",)).argv == expected


def test_no_command_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no command") as caught:
        process(tmp_path, RunSpec())
    assert caught.value.exit_status == 125


def test_removed_entry_point_without_command_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no command"):
        process(tmp_path, RunSpec(entrypoint=()), entrypoint=("entry",), cmd=("default",))


@pytest.mark.parametrize(
    ("asked", "image", "expected"),
    [("", "", "/"), ("", "/app", "/app"), ("", "app", "/app"), ("/w", "/a", "/w")],
)
def test_workdir_is_the_users_then_the_images_then_the_root(
    tmp_path: Path, asked: str, image: str, expected: str
) -> None:
    assert process(tmp_path, RunSpec(("true",), workdir=asked), workdir=image).workdir == expected


def test_relative_workdir_of_the_user_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absolute"):
        process(tmp_path, RunSpec(("true",), workdir="here"))


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_of_an_image_that_no_program_can_get_is_refused(tmp_path: Path, text: str) -> None:
    for config in ({"cmd": (text,)}, {"env": (("A", text),)}, {"workdir": "/" + text}, {"user": text}):
        with pytest.raises(StoreCorrupt, match="image configuration"):
            process(tmp_path, RunSpec(("true",)), **config)


def test_nul_in_a_users_value_is_refused(tmp_path: Path) -> None:
    for spec in (RunSpec(("a\0",)), RunSpec(("a",), env=(("A", "\0"),)), RunSpec(("a",), workdir="/\0")):
        with pytest.raises(UsageError, match="NUL"):
            process(tmp_path, spec)


def environment(tmp_path: Path, facts: HostFacts = FACTS, **values: Any) -> dict[str, str]:
    spec = RunSpec(("true",), env=values.get("user", ()))
    made = container(tmp_path, env=values.get("image", ()))
    return build_environment(made, spec, Identity(0, 0, "/root"), values.get("environ", {}), facts)


def test_environment_has_dockers_defaults(tmp_path: Path) -> None:
    assert environment(tmp_path) == {"PATH": DEFAULT_PATH, "HOSTNAME": "node7", "HOME": "/root"}


def test_images_variables_win_over_defaults_and_the_users_over_the_images(tmp_path: Path) -> None:
    image = (("PATH", "/image"), ("HOME", "/image"), ("A", "image"))
    made = environment(tmp_path, image=image, user=(("A", "user"), ("HOME", "/user")))
    assert made == {"PATH": "/image", "HOSTNAME": "node7", "HOME": "/user", "A": "user"}


def test_term_passes_on_a_terminal_only(tmp_path: Path) -> None:
    environ = {"TERM": "vt100", "SECRET": "x"}
    assert "TERM" not in environment(tmp_path, environ=environ)
    made = environment(tmp_path, replace(FACTS, terminal=True), environ=environ)
    assert made["TERM"] == "vt100"
    assert "SECRET" not in made


def test_nameless_variable_of_an_image_is_left_out_and_of_a_user_refused(tmp_path: Path) -> None:
    assert "" not in environment(tmp_path, image=(("", "x"),))
    for name in ("", "A=B"):
        with pytest.raises(UsageError, match="variable"):
            environment(tmp_path, user=((name, "x"),))


def targets(*mounts: Mount, system: bool = True) -> list[str]:
    return [mount.target for mount in plan_mounts(mounts, system, FACTS)]


def test_system_paths_are_mounted_before_what_lies_in_them() -> None:
    made = targets(Mount("/x", "/dev/shm/x"), Mount("/y", "/data"))
    assert made == ["/proc", "/dev", "/sys", "/data", "/etc/resolv.conf", "/etc/hosts", "/dev/shm/x"]


def test_users_mounts_replace_the_systems_at_and_below_their_targets() -> None:
    assert targets(Mount("/x", "/etc"), Mount("/y", "/proc")) == ["/dev", "/sys", "/etc", "/proc"]
    assert "/etc/hosts" in targets(Mount("/x", "/et"), Mount("/y", "/etc/host"))


def test_files_of_the_host_are_read_only_and_can_be_left_out() -> None:
    made = plan_mounts((), True, FACTS)
    assert [mount.target for mount in made if mount.read_only] == ["/etc/resolv.conf", "/etc/hosts"]
    assert targets(system=False) == []


def test_what_the_host_lacks_is_not_mounted() -> None:
    assert plan_mounts((), True, replace(FACTS, paths=("/dev",))) == (Mount("/dev", "/dev"),)


@pytest.mark.parametrize(
    "mounts",
    [
        (Mount("/x", "/"),),
        (Mount("/x", "//"),),
        (Mount("x", "/y"),),
        (Mount("/x", "y"),),
        (Mount("/x", "/y"), Mount("/z", "/y")),
        (Mount("/x", "/y"), Mount("/z", "//y/./")),
    ],
)
def test_mounts_that_make_no_sense_are_refused(mounts: tuple[Mount, ...]) -> None:
    with pytest.raises(UsageError, match="volume"):
        plan_mounts(mounts, True, FACTS)


def test_planning_is_pure_and_gives_the_launchers_command_line(tmp_path: Path) -> None:
    config = Config.from_environment({"HOME": str(tmp_path)})
    spec = RunSpec(
        ("ls", "-l"), mounts=(Mount("/s", "/t", True),), user="5:6", workdir="/w", system_mounts=True
    )
    facts = HostFacts("node7", False, ("/dev",))
    made = container(tmp_path)
    launch = plan_run(config, made, spec, {}, facts, CHOICE)
    identity = ["--uid", "5", "--gid", "6"]
    binds = ["--bind", "/dev", "/dev", "--bind-ro", "/s", "/t"]
    options = ["--root", str(made.root), *identity, "--workdir", "/w", *binds]
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": "node7", "HOME": "/"}
    assert launch == Launch(("/launcher", *options, "--", "ls", "-l"), env, "/")
    assert plan_run(config, made, spec, {}, facts, CHOICE) == launch


@pytest.mark.parametrize(
    ("architecture", "emulator", "registered", "advice"),
    [
        ("s390x", None, False, ": it takes qemu-s390x-static, of the package qemu-user-static"),
        ("s390x", Emulator(22, "/q"), False, ": this execution mode does not emulate it; T and P do"),
        ("s390x", None, True, None),
        ("vax", None, False, ""),
    ],
)
def test_image_for_another_platform_is_warned_of(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    emulator: Optional[Emulator],
    registered: bool,
    advice: Optional[str],
) -> None:
    monkeypatch.setattr(foreign, "find_emulator", lambda *_: emulator)
    monkeypatch.setattr(foreign, "is_registered", lambda *_: registered)
    config = Config.from_environment({"HOME": str(tmp_path)})
    with caplog.at_level(logging.WARNING):
        own = container(tmp_path, platform=Platform.host())
        plan_run(config, own, RunSpec(("true",)), {}, FACTS, CHOICE)
        assert caplog.messages == []
        other = container(tmp_path, platform=Platform("linux", architecture))
        plan_run(config, other, RunSpec(("true",)), {}, FACTS, CHOICE)
    line = f"the image is for linux/{architecture} and this host is {Platform.host()}{advice}"
    assert caplog.messages == ([] if advice is None else [line])


def test_an_engine_that_can_is_given_the_emulator(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "find_emulator", lambda *_: Emulator(183, "/usr/bin/qemu"))
    config = Config.from_environment({"HOME": str(tmp_path)})
    choice = (TrapEngine(Path("/launcher")), ExecutionMode.T2)
    other = container(tmp_path, platform=Platform("linux", "arm64"))
    launch = plan_run(config, other, RunSpec(("true",)), {}, FACTS, choice)
    assert launch.argv[launch.argv.index("--emulator") + 1] == "183:/usr/bin/qemu"
    own = container(tmp_path, platform=Platform.host())
    assert "--emulator" not in plan_run(config, own, RunSpec(("true",)), {}, FACTS, choice).argv
    assert caplog.messages == []


def test_an_emulator_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulators, "_DIRECTORIES", ())
    program = tmp_path / "qemu-s390x-static"
    parts = struct.pack("<I52x", 1) + struct.pack("<I52x", 3)
    for count, found in ((1, Emulator(22, str(program))), (2, None)):  # the second needs a loader
        head = b"\x7fELF\x02\x01".ljust(32, b"\0") + struct.pack("<Q", 64)
        head = head.ljust(54, b"\0") + struct.pack("<HH", 56, count)
        program.write_bytes(head.ljust(64, b"\0") + parts)
        program.chmod(0o755)
        assert find_emulator("s390x", f"relative:{tmp_path}") == found
    assert find_emulator("vax", str(tmp_path)) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("enabled\ninterpreter /usr/bin/qemu\nflags: OCF\n", True),
        ("enabled\ninterpreter /usr/bin/qemu\nflags: OC\n", False),
        ("disabled\ninterpreter /usr/bin/qemu\nflags: F\n", False),
        (None, False),
    ],
)
def test_the_kernel_is_asked_whether_it_starts_emulators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Optional[str], expected: bool
) -> None:
    monkeypatch.setattr(emulators, "_BINFMT", str(tmp_path))
    if content is not None:
        (tmp_path / "qemu-aarch64").write_text(content)
    assert emulators.is_registered("arm64") is expected
