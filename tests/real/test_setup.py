"""``udocker setup`` and what it changes in a run, as an ordinary user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.real.commands import Commands
from tests.services.base_images import PushedImage

OTHERS = ("P1", "P2", "F1", "F2", "F3", "F4", "R2", "R3", "S1")


@pytest.fixture
def box(udocker: Commands, busybox_image: PushedImage) -> Commands:
    udocker.good("create", "--name=box", busybox_image.reference)
    return udocker


def container(commands: Commands) -> Path:
    return Path(commands.good("inspect", "-p", "box").strip()).parent


def shown_mode(commands: Commands) -> str:
    return commands.good("ps", "-m").splitlines()[1].split()[3]


def test_the_mode_is_shown_recorded_and_read_where_udocker_has_it(box: Commands) -> None:
    record = container(box) / "execmode"
    assert box.good("setup", "box") == "execmode: R1\nnvidiamode: False\n"
    assert box.good("setup", "--execmode=r1", "box") == ""
    assert record.read_text() == "R1"
    for mode in ("P1", "P2", "R2", "R3", "S1"):
        record.write_text(mode)  # as udocker 1.3 would
        assert box.good("setup", "box") == f"execmode: {mode}\nnvidiamode: False\n"
        assert shown_mode(box) == mode
        assert box.good("run", "box", "echo", "runs") == "runs\n"
    box.good("setup", "--execmode", "R1", "box")
    assert (shown_mode(box), record.read_text()) == ("R1", "R1")


def test_a_container_runs_in_the_mode_that_it_is_set_up_for(box: Commands) -> None:
    record = container(box) / "execmode"
    for mode in ("T1", "T2"):
        assert box.good("setup", f"--execmode={mode}", "box") == ""
        assert (record.read_text(), shown_mode(box)) == (mode, mode)
        assert box.good("run", "box", "id", "-u") == "0\n"
        assert box.good("run", "--user=7:8", "box", "sh", "-c", "id -u; id -g") == "7\n8\n"
        assert box.good("run", "--kernel=3.10.0-el7", "box", "uname", "-r") == "3.10.0-el7\n"
        assert box.good("run", "--execmode=R1", "box", "id", "-u") == "0\n"
    box.good("setup", "--execmode=R1", "box")
    assert box.good("run", "box", "id", "-u") == "0\n"


@pytest.mark.parametrize(
    ("mode", "features"),
    [("R1", "openat2,mount_setattr,pivot_root"), ("T1", "openat2 prctl-mm-map"), ("T2", "openat2,execmem")],
)
def test_an_engine_can_be_made_to_fall_back(box: Commands, mode: str, features: str) -> None:
    run = ("run", f"--execmode={mode}", "box", "cat", "/etc/passwd")
    assert box(*run, env={"UDOCKER_ENGINE_WITHOUT": features}, check=True).stdout == box.good(*run)
    result = box(*run, env={"UDOCKER_ENGINE_WITHOUT": f"{features},luck"})
    assert (result.returncode, result.stdout) == (125, "")
    assert result.stderr.startswith("udocker: run: luck: ")


def test_where_user_namespaces_are_forbidden_the_next_mode_runs(box: Commands) -> None:
    """A name space in which no further one may be made stands for a host that forbids them."""
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    forbidding = ["unshare", "--map-root-user", "sh", "-c", script, "sh", box.programs / "udocker"]
    env = {"UDOCKER_DIR": str(box.store)}
    for words, shown in (
        (["run", "--kernel=3.10.0-el7", "box", "uname", "-r"], "3.10.0-el7\n"),
        (["setup", "box"], "execmode: T2\nnvidiamode: False\n"),
    ):
        assert box.user.run([*forbidding, *words], env=env, check=True).stdout == shown
    refused = box.user.run([*forbidding, "run", "--execmode=R1", "box", "true"], env=env, check=False)
    assert refused.returncode == 125
    assert "user namespace: switched off" in refused.stderr
    assert box.good("setup", "box") == "execmode: R1\nnvidiamode: False\n"


def test_what_a_mode_keeps_beside_the_root_goes_with_the_container(box: Commands) -> None:
    directory = container(box)
    user = f"--user={box.user.uid}"  # who is in no file of the container
    assert box.good("run", "--execmode=T2", user, "box", "cat", "/etc/passwd") != ""
    assert (directory / "trap.files").is_dir()
    assert box.good("verify", "box") != ""
    assert box.good("repair") == ""
    box.good("rm", "box")
    assert not directory.exists()


def test_a_mode_without_an_engine_is_told_from_an_unknown_one(box: Commands) -> None:
    for mode in OTHERS:
        message = box.bad("setup", f"--execmode={mode}", "box")
        assert f"{mode}: known, but this version has no engine" in message
        assert "R1" in message
    assert "unknown" in box.bad("setup", "--execmode=X1", "box")
    assert not (container(box) / "execmode").exists()


def test_a_container_with_patched_files_is_told_how_to_get_back(box: Commands) -> None:
    record = container(box) / "execmode"
    for mode in ("F1", "F2", "F3", "F4"):
        record.write_text(mode)
        for command in (["run", "box", "true"], ["setup", "--execmode=R1", "box"]):
            message = box.bad(*command)
            assert mode in message
            assert "setup --execmode=P1 box" in message
    assert shown_mode(box) == "F4"
    box.good("setup", "--execmode=R1", "--force", "box")
    assert box.good("run", "box", "echo", "runs") == "runs\n"


def test_a_record_that_nobody_knows_is_told_and_can_be_mended(box: Commands) -> None:
    (container(box) / "execmode").write_text("nonsense")
    for command in (["run", "box", "true"], ["setup", "box"]):
        assert "execmode" in box.bad(*command)
    assert shown_mode(box) == "?"
    box.good("setup", "--execmode=R1", "--force", "box")
    assert box.good("run", "box", "echo", "runs") == "runs\n"


def test_a_protected_container_keeps_its_mode(box: Commands) -> None:
    box.good("protect", "box")
    assert "protected" in box.bad("setup", "--execmode=R1", "box")
    assert "not here" in box.bad("setup", "--execmode=R1", "nosuch")


def give_tree(commands: Commands, top: Path) -> None:
    for path in [top, *top.rglob("*")]:
        os.chown(path, commands.user.uid, commands.user.gid, follow_symlinks=False)


def make_driver(commands: Commands, version: str) -> dict[str, str]:
    """A driver of files by the right names, and the variables by which it is found."""
    top = commands.user.home / f"driver-{version}"
    (top / "lib").mkdir(parents=True, exist_ok=True)
    (top / "bin").mkdir(exist_ok=True)
    for name in ("libcuda", "libnvidia-ml"):
        (top / f"lib/{name}.so.{version}").write_text(f"{name} {version}\n")
        link = top / f"lib/{name}.so.1"
        link.unlink(missing_ok=True)
        link.symlink_to(f"{name}.so.{version}")
    (top / "bin/nvidia-smi").write_text(f"#!/bin/sh\necho driver {version}\n")
    (top / "bin/nvidia-smi").chmod(0o755)
    give_tree(commands, top)
    return {"LD_LIBRARY_PATH": f"{top}/lib", "PATH": f"{top}/bin:/usr/bin:/bin"}


def test_a_run_gets_the_driver_of_the_host_that_it_is_on(box: Commands) -> None:
    old, new = make_driver(box, "535.1"), make_driver(box, "550.2")
    assert box.good("setup", "--nvidia", "box", env=old) == ""
    assert box.good("setup", "box") == "execmode: R1\nnvidiamode: True\n"
    script = "nvidia-smi; cat /usr/local/nvidia/lib64/libcuda.so.1; echo $LD_LIBRARY_PATH"
    for version, env in (("535.1", old), ("550.2", new)):
        expected = f"driver {version}\nlibcuda {version}\n/usr/local/nvidia/lib64\n"
        assert box.good("run", "box", "sh", "-c", script, env=env) == expected
    assert list((container(box) / "ROOT/usr/local/nvidia").iterdir()) == []  # nothing was copied


def test_a_host_without_a_driver_is_one_clear_line(box: Commands) -> None:
    assert "no NVIDIA driver" in box.bad("setup", "--nvidia", "box")
    assert box.good("setup", "box").endswith("nvidiamode: False\n")
    box.good("setup", "--nvidia", "--force", "box")
    result = box("run", "box", "echo", "runs", check=True)
    assert result.stdout == "runs\n"
    assert "no NVIDIA driver" in result.stderr


def test_purge_and_permissions(box: Commands) -> None:
    directory = container(box)
    etc = directory / "ROOT/etc"
    (directory / ".bind_orig_files").mkdir()
    (etc / "passwd").rename(directory / ".bind_orig_files/#etc#passwd")
    (etc / "passwd").symlink_to("/.bind_host_files/#etc#passwd")
    (directory / "ROOT/locked").mkdir()
    (directory / "ROOT/locked").chmod(0)
    give_tree(box, directory)
    assert box.good("run", "box", "grep", "-c", "root", "/etc/passwd") == "1\n"
    assert box.good("setup", "--purge", "--fixperm", "box") == ""
    assert not (etc / "passwd").is_symlink()
    assert (directory / "ROOT/locked").stat().st_mode & 0o700 == 0o700
    assert box.good("run", "box", "grep", "-c", "root", "/etc/passwd") == "1\n"
