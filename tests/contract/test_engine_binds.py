"""What every engine shows where the user binds something."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contract.roots import Stage, caller, give, make_root
from tests.services.needs import need_root
from udocker.errors import UsageError
from udocker.model.mount import Mount


def sh(stage: Stage, script: str, **spec: object) -> str:
    return stage.output("sh", "-c", script, **spec)


def test_directory_is_bound(stage: Stage) -> None:
    stage.file("data/a", "A\n")
    mounts = (Mount(str(stage.host / "data"), "/data"),)
    assert sh(stage, "cat /data/a; echo B > /data/b", mounts=mounts) == "A\n"
    assert (stage.host / "data/b").read_text() == "B\n"


def test_file_is_bound_over_a_file_that_exists(stage: Stage) -> None:
    source = stage.file("passwd", "bound\n")
    mounts = (Mount(str(source), "/etc/passwd"),)
    assert stage.output("cat", "/etc/passwd", mounts=mounts) == "bound\n"
    assert "alice" in (stage.root / "etc/passwd").read_text()


def test_file_is_bound_where_nothing_was(stage: Stage) -> None:
    source = stage.file("file", "bound\n")
    mounts = (Mount(str(source), "/a/new/place"),)
    assert stage.output("cat", "/a/new/place", mounts=mounts) == "bound\n"


def test_bind_may_have_the_same_path_on_both_sides(stage: Stage) -> None:
    source = stage.file("file", "bound\n")
    mounts = (Mount(str(stage.host), str(stage.host)),)
    assert stage.output("cat", str(source), mounts=mounts) == "bound\n"


@pytest.mark.parametrize("turn", [1, -1])
def test_nested_binds_show_both_in_any_order(stage: Stage, turn: int) -> None:
    stage.file("outer/o", "O\n")
    stage.file("inner/i", "I\n")
    outer, inner = Mount(str(stage.host / "outer"), "/m"), Mount(str(stage.host / "inner"), "/m/deep/in")
    mounts = (outer, inner)[::turn]
    assert sh(stage, "cat /m/o /m/deep/in/i", mounts=mounts) == "O\nI\n"


def test_read_only_bind_refuses_writing(stage: Stage) -> None:
    stage.file("data/a")
    mounts = (Mount(str(stage.host / "data"), "/data", read_only=True),)
    result = stage.run("touch", "/data/b", mounts=mounts)
    assert result.status == 1
    assert b"Read-only file system" in result.err
    assert not (stage.host / "data/b").exists()


def test_read_only_bind_covers_what_is_mounted_below_the_source(stage: Stage) -> None:
    # /dev has other file systems below it on every host; they come along.
    mounts = (Mount("/dev", "/devices", read_only=True),)
    result = stage.run("touch", "/devices/shm/udocker-contract", mounts=mounts)
    assert result.status == 1
    assert b"Read-only file system" in result.err


def test_container_root_cannot_make_a_read_only_bind_writable(stage: Stage) -> None:
    stage.file("data/a")
    mounts = (Mount(str(stage.host / "data"), "/data", read_only=True),)
    script = "mount -o remount,bind,rw /data 2>/dev/null; umount /data 2>/dev/null; touch /data/b"
    assert stage.run("sh", "-c", script, mounts=mounts).status == 1
    assert not (stage.host / "data/b").exists()


def test_users_bind_wins_over_the_systems(stage: Stage) -> None:
    source = stage.file("hosts", "mine\n")
    mounts = (Mount(str(source), "/etc/hosts"),)
    assert stage.output("cat", "/etc/hosts", mounts=mounts) == "mine\n"


def test_bind_below_a_system_directory_is_seen(stage: Stage) -> None:
    stage.file("shm/mine", "")
    mounts = (Mount(str(stage.host / "shm"), "/dev/shm"),)
    assert stage.output("ls", "/dev/shm", mounts=mounts) == "mine\n"


@pytest.mark.parametrize("link", ["{host}/victim", "../../../../../../..{host}/victim"])
def test_symlinked_target_never_escapes_to_the_host(stage: Stage, link: str) -> None:
    stage.file("victim/kept", "kept\n")
    stage.file("data/new", "new\n")
    (stage.root / "trap").symlink_to(link.format(host=stage.host))
    mounts = (Mount(str(stage.host / "data"), "/trap/made"),)
    assert stage.output("cat", "/trap/made/new", mounts=mounts) == "new\n"
    assert os.listdir(stage.host / "victim") == ["kept"]


def test_target_through_a_link_of_proc_never_escapes_to_the_host(stage: Stage) -> None:
    stage.file("data/new", "new\n")
    for number in range(3, 12):
        (stage.root / f"trap{number}").symlink_to(f"/proc/self/fd/{number}{stage.host}/victim")
    (stage.root / "trapcwd").symlink_to(f"/proc/self/cwd/{stage.host}/victim")
    for trap in [*(f"trap{number}" for number in range(3, 12)), "trapcwd"]:
        stage.run("true", mounts=(Mount(str(stage.host / "data"), f"/{trap}"),))
        stage.run("true", workdir=f"/{trap}")
    assert not (stage.host / "victim").exists()


def test_relative_and_absolute_links_of_the_image_lead_where_they_say(stage: Stage) -> None:
    stage.file("data/new", "new\n")
    stage.file("ROOT/run/there")
    stage.file("ROOT/var/there")
    (stage.root / "var/run").symlink_to("/run")
    (stage.root / "up").symlink_to("var/../var/run")
    mounts = (Mount(str(stage.host / "data"), "/up/x"),)
    assert stage.output("cat", "/run/x/new", mounts=mounts) == "new\n"


def test_dangling_link_of_the_image_is_completed_inside(stage: Stage) -> None:
    source = stage.file("file", "bound\n")
    (stage.root / "link").symlink_to(f"{stage.host}/made/here")
    mounts = (Mount(str(source), "/link"),)
    assert stage.output("cat", f"{stage.host}/made/here", mounts=mounts) == "bound\n"
    assert not (stage.host / "made").exists()


def test_system_directory_that_is_a_link_in_the_image_stays_inside(stage: Stage) -> None:
    stage.file("victim/kept")
    for name in ("proc", "dev", "sys"):
        (stage.root / name).symlink_to(f"{stage.host}/victim/{name}")
    assert stage.output("cat", "/proc/self/comm") == "cat\n"
    assert os.listdir(stage.host / "victim") == ["kept"]


def test_system_directory_that_is_a_file_in_the_image_is_told(stage: Stage) -> None:
    stage.file("ROOT/dev")
    result = stage.run("true")
    assert result.status == 125
    assert result.err.startswith(b"udocker: run: /dev: is not a directory in the container")


def test_target_in_a_loop_of_links_is_refused(stage: Stage) -> None:
    (stage.root / "a").symlink_to("b")
    (stage.root / "b").symlink_to("a")
    result = stage.run("true", mounts=(Mount(str(stage.host), "/a/x"),))
    assert result.status == 125
    assert result.err.startswith(b"udocker: run: /a/x: ")
    assert result.err.count(b"\n") == 1


ODD = [b"with space", b"new\nline", b"\xff\xfebytes", b"quote'\"$(x)`y`", b"-dash", b"back\\slash", b"\\040"]


@pytest.mark.parametrize("name", ODD, ids=[str(number) for number in range(len(ODD))])
@pytest.mark.parametrize("read_only", [False, True])
def test_odd_names_are_bound_byte_by_byte(stage: Stage, name: bytes, read_only: bool) -> None:
    source = stage.file(name + b"/file", "odd\n").parent
    text = os.fsdecode(name)
    mounts = (Mount(str(source), f"/{text}", read_only),)
    script = 'cat "$1/file"; touch "$1/new" 2>/dev/null && echo writable'
    expected = "odd\n" if read_only else "odd\nwritable\n"
    result = stage.run("sh", "-c", script, "sh", f"/{text}", mounts=mounts)
    assert (os.fsdecode(result.out), result.err) == (expected, b"")


def test_fifo_and_device_can_be_bound(stage: Stage) -> None:
    os.mkfifo(stage.host / "fifo", 0o666)
    mounts = (Mount(str(stage.host / "fifo"), "/f"), Mount("/dev/null", "/n"))
    assert sh(stage, "[ -p /f ] && [ -c /n ] && echo yes", mounts=mounts) == "yes\n"


def test_missing_source_is_refused_with_its_name(stage: Stage) -> None:
    missing = stage.host / "missing"
    result = stage.run("true", mounts=(Mount(str(missing), "/x"),))
    assert result.status == 125
    assert result.err.startswith(f"udocker: run: {missing}: No such file or directory".encode())
    assert not missing.exists()


def test_directory_cannot_be_bound_to_a_file(stage: Stage) -> None:
    result = stage.run("true", mounts=(Mount(str(stage.host), "/etc/passwd"),))
    assert result.status == 125
    assert b"is not a directory in the container" in result.err


def test_target_that_cannot_be_created_is_told_in_one_line(stage: Stage) -> None:
    # A directory of the host that the user cannot write: where the tests run as root, root's own.
    mounts = (Mount("/usr", "/u"), Mount(str(stage.host), "/u/udocker-contract"))
    result = stage.run("true", mounts=mounts)
    assert result.status == 125
    assert result.err.startswith(b"udocker: run: /u/udocker-contract: ")
    assert b"not writable" in result.err
    assert result.err.count(b"\n") == 1


def test_root_cannot_be_replaced(stage: Stage) -> None:
    with pytest.raises(UsageError):
        stage.plan("true", mounts=(Mount(str(stage.host), "/"),))
    (stage.root / "slash").symlink_to("/")
    assert stage.run("true", mounts=(Mount(str(stage.host), "/slash"),)).status == 125


def test_volumes_of_the_image_are_there_and_writable(stage: Stage) -> None:
    stage.file("ROOT/data/seed", "seed\n")
    made = stage.image(volumes=("/data", "/new/volume"))
    script = "cat /data/seed; echo mine > /data/file; echo mine > /new/volume/file; cat /new/volume/file"
    assert sh(made, script, user=made.somebody) == "seed\nmine\n"
    assert (stage.root / "new/volume/file").read_text() == "mine\n"  # as long as the container lives


def test_a_volume_that_is_not_ours_to_write_is_in_memory(stage: Stage) -> None:
    need_root()
    stage.output("true")  # which makes the mount points
    seed = stage.file("ROOT/full/seed", "seed\n")
    empty = stage.root / "empty"
    empty.mkdir()
    for path in (empty, seed.parent, stage.root):
        path.chmod(0o755)
        os.chown(path, 0, 0)  # somebody else's container
    made = stage.image(volumes=("/empty", "/full", "/missing"))
    script = "echo mine > /empty/file && cat /empty/file /full/seed; test -e /missing || echo none"
    assert sh(made, script, user=made.somebody) == "mine\nseed\nnone\n"
    assert list(empty.iterdir()) == []


def test_a_volume_behind_a_link_of_the_image_stays_inside(stage: Stage) -> None:
    stage.file("victim/kept")
    (stage.root / "trap").symlink_to(f"{stage.host}/victim")
    made = stage.image(volumes=("/trap/volume",))
    assert made.run("true").status == 0
    assert os.listdir(stage.host / "victim") == ["kept"]


def test_a_volume_that_a_bind_covers_is_the_bind(stage: Stage) -> None:
    stage.file("data/seed", "bound\n")
    mounts = (Mount(str(stage.host / "data"), "/data"),)
    assert sh(stage.image(volumes=("/data",)), "cat /data/seed", mounts=mounts) == "bound\n"


def test_files_that_another_udocker_put_away_are_found_again(stage: Stage) -> None:
    """As the R modes of udocker 1.3 leave them: a link in the root, the file beside it."""
    uid = 7 if stage.engine.abilities.other_users else caller()[0]
    parked = Path(stage.container.directory, ".bind_orig_files")
    parked.mkdir()
    for name in ("passwd", "hosts"):
        (parked / f"#etc#{name}").write_text(f"root:x:0:0::/root:/bin/sh\nbob:x:{uid}:8::/home/bob:/bin/sh\n")
        (stage.root / "etc" / name).unlink(missing_ok=True)
        (stage.root / "etc" / name).symlink_to(f"/.bind_host_files/#etc#{name}")
    give(Path(stage.container.directory))
    assert sh(stage, "id -un; grep -c bob /etc/passwd; echo $HOME", user=str(uid)) == "bob\n1\n/home/bob\n"
    if stage.engine.abilities.other_users:
        assert sh(stage, "id -un; tail -n 1 /etc/passwd", user="9").startswith("user9\nuser9:x:9:")
    with open("/etc/hosts", encoding="utf-8") as hosts:
        assert stage.output("cat", "/etc/hosts") == hosts.read()
    assert "bob" in (parked / "#etc#hosts").read_text()


def test_host_paths_are_bound_nowhere_where_no_system_is_wanted(stage: Stage) -> None:
    assert sh(stage, "ls /", system_mounts=False) == "bin\netc\ntmp\n"


def test_a_container_that_was_changed_to_fit_the_host_runs(stage: Stage) -> None:
    """As the F modes of udocker 1.3 leave them: links to the host's path of the root, another loader."""
    directory = Path(stage.container.directory)
    old = "/home/somebody/.udocker/containers/x/ROOT"  # where it was then
    stage.file("ROOT/data/file", "content\n")
    stage.file("ROOT/lib/tool", "broken", 0o755)
    (stage.root / "link").symlink_to(f"{old}/data")
    for name, text in {
        "execmode": "F3",
        "root.path": old,
        "ld.so.path": "/lib/tool",
        "ld.so.orig": "#!/bin/sh\necho original\n",
    }.items():
        (directory / name).write_text(text)
    give(directory)
    stage.file("bound/file", "bound\n")
    mounts = (Mount(str(stage.host / "bound"), "/link/bound"),)
    script = f"cat /link/file /link/bound/file; /lib/tool; {old}/lib/tool; cat {old}/proc/self/comm"
    assert sh(stage, script, mounts=mounts) == "content\nbound\noriginal\noriginal\ncat\n"
    assert (stage.root / "lib/tool").read_text() == "broken"


def test_the_trap_engine_runs_in_a_container_of_every_mode(stage: Stage, launchers: Path) -> None:
    inner = stage.host / "inner"
    make_root(inner)
    (inner / "etc/who").write_text("inner\n")
    give(inner)
    mounts = (Mount(str(launchers), "/engine", read_only=True), Mount(str(inner), "/inner"))
    script = "cat /etc/who ../../etc/who; ls -d /inner /engine; echo x >/tmp/made; exit 3"
    command = ("/engine/udocker-trap", "--root", "/inner", "--patch", "--", "/bin/sh", "-c", script)
    result = stage.run(*command, mounts=mounts)
    assert (result.status, result.out) == (3, b"inner\ninner\n"), result
    assert result.err.count(b"No such file or directory") == 2
    assert (inner / "tmp/made").read_text() == "x\n"
