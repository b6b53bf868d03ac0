"""What a program that is root finds: under every engine, and under those that emulate it."""

from __future__ import annotations

import os
import stat

import pytest

from tests.contract.roots import Stage, caller, give
from tests.services.needs import is_root
from udocker.model.mount import Mount

APPLETS = """
    chgrp chmod chown cp dd mkdir mkfifo mknod mv stat tar
""".split()  # noqa: SIM905 - one line reads better than twenty
FOUND = "stat -c '%u:%g %a %F' "


def with_applets(stage: Stage) -> Stage:
    for name in APPLETS:
        link = stage.root / "bin" / name
        if not link.is_symlink():
            link.symlink_to("busybox")
    give(stage.root)
    return stage


@pytest.fixture
def any_root(stage_of_others: Stage) -> Stage:
    """A container whose program is root."""
    return with_applets(stage_of_others)


@pytest.fixture
def emulated(stage_of_emulators: Stage) -> Stage:
    """The same where that is emulated."""
    return with_applets(stage_of_emulators)


def sh(stage: Stage, script: str, **spec: object) -> str:
    return stage.output("sh", "-e", "-c", script, **spec)


# ---- every engine ----


def test_root_is_root_whoever_starts_the_program(any_root: Stage) -> None:
    for user in ("", "root", "0", "0:0"):
        assert sh(any_root, "id; sh -c 'id -u; id -g'", user=user).splitlines()[1:] == ["0", "0"]


def test_what_root_makes_is_roots_inside_and_the_callers_outside(any_root: Stage) -> None:
    script = f"echo x >/tmp/file; mkdir /tmp/d; {FOUND} / /etc/passwd /tmp/file /tmp/d"
    found = sh(any_root, script).splitlines()
    assert [line.split()[0] for line in found] == ["0:0"] * 4
    for name in ("tmp/file", "tmp/d"):
        info = (any_root.root / name).stat()
        assert (info.st_uid, info.st_gid) == caller()


def test_root_may_give_roots_files_to_root(any_root: Stage) -> None:
    assert sh(any_root, f"chown -R 0:0 /bin /tmp; chgrp 0 /etc/group; {FOUND} /etc/passwd").startswith("0:0 ")


def test_root_reads_and_changes_what_is_closed(any_root: Stage) -> None:
    script = """
        echo secret >/tmp/closed; chmod 0 /tmp/closed; cat /tmp/closed; echo more >>/tmp/closed
        cat /tmp/closed
        mkdir /tmp/d; echo x >/tmp/d/x; chmod 0 /tmp/d; cat /tmp/d/x
        test -r /tmp/closed && test -w /tmp/closed
        ! test -x /tmp/closed; stat -c %a /tmp/closed /tmp/d; rm -r /tmp/closed /tmp/d
    """
    shown = sh(any_root, script).split()
    assert shown == ["secret", "secret", "more", "x", "0", "0"]


def test_root_opens_nothing_that_is_shown_read_only(emulated: Stage) -> None:
    closed = emulated.file("data/file", "closed\n")
    closed.chmod(0)
    script = "{ cat /data/file || { cd /data && cat file; }; } 2>/dev/null || echo refused"
    shown = sh(emulated, script, mounts=(Mount(str(closed.parent), "/data", read_only=True),))
    assert (shown, stat.S_IMODE(closed.stat().st_mode)) == ("refused\n", 0)


def test_root_cannot_mount(emulated: Stage) -> None:
    result = emulated.run("mount", "-t", "tmpfs", "none", "/tmp")
    assert result.status != 0
    assert b"permi" in result.err.lower()


# ---- emulated: who the process is ----


def test_another_user_is_that_and_no_more(emulated: Stage) -> None:
    script = f"""
        id -u; id -g; echo mine >/tmp/mine; mkdir /tmp/d; mkfifo /tmp/p; {FOUND} /tmp/mine /tmp/d /etc/passwd
        chown 0 /tmp/mine || chown 5 /etc/passwd || chmod 777 /etc/passwd || mknod /tmp/n c 1 3 ||
            echo refused
        test -w /etc/passwd || echo closed; test -w /tmp/mine && echo open
    """
    result = emulated.run("sh", "-c", script, user="1234:2345")
    assert result.out.decode().splitlines() == [
        *("1234", "2345", "1234:2345 644 regular file", "1234:2345 755 directory", "0:0 644 regular file"),
        *("refused", "closed", "open"),
    ]
    assert result.err.count(b"not permitted") == 4


def test_the_caller_himself_is_not_emulated(emulated: Stage) -> None:
    uid, gid = caller()
    (emulated.root / "etc/passwd").chmod(0o644)
    for user in (str(uid), f"{uid}:{gid}"):
        launch = emulated.plan("sh", "-c", "id -u; id -g; stat -c %u:%g /etc/passwd", user=user)
        assert emulated.finish(launch).out == f"{uid}\n{gid}\n{uid}:{gid}\n".encode()


def test_another_root_is_a_directory_of_the_container(emulated: Stage) -> None:
    (emulated.root / "bin/chroot").symlink_to("busybox")
    data = emulated.file("data/file", "bound\n").parent
    script = """
        cd /; mkdir -p new/bin new/bound new/etc; cp bin/busybox new/bin; echo inner >new/etc/who
        chroot / id -u
        cd new; ln -s /etc/who link; ln -s ../../../../etc/passwd out; ln -s busybox bin/sh; cd /
        chroot /new /bin/sh -e -c '
            pwd; busybox cat /link /bound/file ../../etc/who; busybox id -u; cd etc; pwd; echo more >/made
            busybox ls /; ! busybox cat /out; ! busybox cat /../new/etc/who
        ' 2>/dev/null
        cat /new/made; pwd; ! chroot /etc/passwd true 2>/dev/null; ! chroot /missing true 2>/dev/null
    """
    shown = sh(emulated, script, mounts=(Mount(str(data), "/new/bound"),)).split()
    names = ["bin", "bound", "etc", "link", "made", "out"]
    assert shown == ["0", "/", "inner", "bound", "inner", "0", "/etc", *names, "more", "/"]
    result = emulated.run("chroot", "/new", "/bin/sh", user="1234:2345")
    assert result.status == 1
    assert b"not permitted" in result.err


# ---- emulated: whose a file is ----


def test_owners_are_kept_to_a_later_run(emulated: Stage) -> None:
    sh(emulated, "cd /tmp; echo x >a; mkdir d; chown 7:8 a; chown 9 d; chmod 4711 a; chmod 2770 d")
    show = f"{FOUND} /tmp/a /tmp/d"
    expected = "7:8 4711 regular file\n9:0 2770 directory\n"
    assert sh(emulated, show) == expected
    assert sh(emulated, f"mv /tmp/a /tmp/b; cp -a /tmp/b /tmp/a; rm /tmp/b; {show}") == expected
    assert sh(emulated, show) == expected
    info = (emulated.root / "tmp/a").stat()
    assert (info.st_uid, info.st_gid) == caller()
    assert stat.S_IMODE(info.st_mode) == 0o711


def test_giving_a_program_away_takes_its_set_user_id(emulated: Stage) -> None:
    script = f"cp /bin/busybox /tmp/p; chmod 6755 /tmp/p; {FOUND} /tmp/p; chown 7 /tmp/p; {FOUND} /tmp/p"
    assert sh(emulated, script) == "0:0 6755 regular file\n7:0 755 regular file\n"


def test_devices_are_files_that_look_like_devices(emulated: Stage) -> None:
    script = """
        mknod -m 640 /tmp/disk b 7 300; chown 0:6 /tmp/disk; mknod /tmp/null c 1 3; mkfifo /tmp/pipe
        stat -c '%F %a %t:%T %g' /tmp/disk /tmp/null; test -b /tmp/disk; test -c /tmp/null; test -p /tmp/pipe
        cp -a /tmp/disk /tmp/copy; stat -c '%F %t:%T' /tmp/copy
    """
    assert sh(emulated, script).splitlines() == [
        "block special file 640 7:12c 6",
        "character special file 644 1:3 0",
        "block special file 7:12c",
    ]
    assert stat.S_ISREG((emulated.root / "tmp/disk").stat().st_mode)


def test_archives_are_unpacked_with_their_owners(emulated: Stage) -> None:
    script = f"""
        mkdir -p /tmp/t/sub; cd /tmp/t; echo x >one; echo y >sub/two; ln -s one link; mknod dev c 1 5
        chown 7:8 one; chown -R 9:10 sub; chown -h 3:3 link; chmod 4755 one; chmod 0 sub/two; chmod 1777 sub
        tar cf ../t.tar .; mkdir /tmp/x; cd /tmp/x; tar xpf ../t.tar
        {FOUND} one sub sub/two dev link; tar tvf ../t.tar | grep -c '^c'
    """
    assert sh(emulated, script).splitlines() == [
        "7:8 4755 regular file",
        "9:10 1777 directory",
        "9:10 0 regular file",
        "0:0 644 character special file",
        "0:0 777 symbolic link",
        "1",
    ]


def test_a_new_file_that_its_maker_may_not_read_is_roots_to_read(emulated: Stage) -> None:
    script = f"cd /tmp; umask 077; cat /etc/passwd >new; mkdir -m 0 d; echo x >d/x; {FOUND} new d"
    assert sh(emulated, script) == "0:0 600 regular file\n0:0 0 directory\n"


def test_what_was_closed_outside_is_open_to_root(emulated: Stage) -> None:
    for name, mode in (("closed", 0), ("read", 0o444)):
        emulated.file(f"ROOT/tmp/{name}", "kept\n", mode)
    script = (
        f"cd /tmp; cat closed; echo more >>closed; echo more >>read; cat closed read; {FOUND} closed read"
    )
    assert sh(emulated, script).splitlines() == [
        *("kept", "kept", "more", "kept", "more"),
        *("0:0 0 regular file", "0:0 444 regular file"),
    ]


def test_files_of_the_host_that_are_the_callers_are_roots(emulated: Stage) -> None:
    data = emulated.file("data/file").parent
    mounts = (Mount(str(data), "/data"),)
    script = f"{FOUND} /data /data/file /dev/null; chown 7 /data/file; {FOUND} /data/file"
    shown = sh(emulated, script, mounts=mounts).splitlines()
    assert [line.split()[0] for line in shown] == ["0:0", "0:0", "0:0", "7:0"]
    assert (data / "file").stat().st_uid == caller()[0]


def test_files_of_others_on_the_host_are_theirs(emulated: Stage) -> None:
    if not is_root():
        pytest.skip("needs root, to make somebody else's file: run `sudo make test`")
    file = emulated.file("data/file")
    os.chown(file, 4321, 4321)
    mounts = (Mount(str(file.parent), "/data"),)
    result = emulated.run(
        "sh", "-c", f"{FOUND} /data/file; chown 0 /data/file; chown 4321 /data/file", mounts=mounts
    )
    assert result.out == b"4321:4321 644 regular file\n"
    assert result.err.count(b"not permitted") == 1


def test_what_is_written_down_is_in_the_file_and_nowhere_else(emulated: Stage) -> None:
    sh(emulated, "echo x >/tmp/a; chown 7 /tmp/a")
    assert os.listxattr(emulated.root / "tmp/a") == ["user.udocker.owner"]
    assert os.getxattr(emulated.root / "tmp/a", "user.udocker.owner") == b"7:0:0:0"
    sh(emulated, "chown 0 /tmp/a")
    assert os.listxattr(emulated.root / "tmp/a") == []


def test_a_read_only_container_keeps_its_owners(emulated: Stage) -> None:
    result = emulated.run(
        "sh", "-c", "chown 7 /etc/passwd; chmod 777 /etc/passwd; stat -c %u:%a /etc/passwd", read_only=True
    )
    assert result.out == b"0:644\n"
    assert result.err.count(b"Read-only file system") == 2
