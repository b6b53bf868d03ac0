"""What every engine does alike in images of several C libraries, by the images' own programs.

The caller is an ordinary user, and the programs run as that user: every engine offers that.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import resource
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.conftest import VARIANTS
from tests.contract.images import (
    DEBIANS,
    I386,
    IMAGES,
    PROBE,
    PROBES,
    Images,
    available,
    beside,
    ordinary,
    run,
    sh,
)
from tests.contract.roots import Stage, caller
from tests.contract.test_engine import read_terminal
from tests.services.sharing import session_directory
from udocker.model.mount import Mount
from udocker.model.runspec import Accounts

TABLE = (PROBE / "main.c").read_text()
CHECKS = re.findall(r'^    \{"(\w+)", \w+\},$', TABLE, re.MULTILINE)
# Without PR_SET_MM_MAP programs see the engine's words in /proc/self/cmdline; the rest of that fall-back has
# sentences in the other files of this suite.
MODES = [name for name in VARIANTS if name != "T1-no-mm-map"]
on_debians = pytest.mark.parametrize("image", DEBIANS, indirect=True)


@pytest.fixture(scope="session")
def images() -> Iterator[Images]:
    """The images' containers; each is made once, for every mode."""
    with session_directory("images") as directory:
        yield Images(directory)


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> str:
    """The name of an image."""
    return str(request.param)


@pytest.fixture(params=MODES)
def staged(request: pytest.FixtureRequest, image: str, images: Images, launchers: Path) -> Iterator[Stage]:
    """A container of an image under each mode; what a test leaves in /tmp is removed."""
    variant = VARIANTS[request.param]
    stage = images.root(image).stage(available(variant, launchers), variant.mode)
    yield stage
    left = list((stage.root / "tmp").iterdir())
    if left:  # Python's own removal stops at paths that are longer than any call takes.
        subprocess.run(["rm", "-rf", *left], check=True)


# ---- what programs do with their system ----


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(("image", "probe"), PROBES, indirect=["image"])
def test_programs_find_the_system_that_they_expect(staged: Stage, probe: str, check: str) -> None:
    result = run(staged, f"/opt/{probe}/image_probe", check)
    assert (result.status, result.out, result.err) == (0, b"", b"")


def test_the_checks_are_all_found() -> None:
    assert len(CHECKS) == TABLE.count('    {"')


# ---- files ----


def test_the_image_has_the_c_library_that_it_is_for(staged: Stage, image: str) -> None:
    command, expected = IMAGES[image].version
    assert sh(staged, command) == expected


def test_every_file_of_the_image_is_seen_and_no_other(staged: Stage) -> None:
    host = ["find", ".", "-printf", "/%P\\n"]
    there = subprocess.run(host, cwd=staged.root, capture_output=True, check=True).stdout.splitlines()
    found = sh(staged, "find / | LC_ALL=C sort", system_mounts=False)
    assert found.splitlines() == sorted(map(os.fsdecode, there))


def test_files_are_the_images_and_the_hosts_are_not_there(staged: Stage) -> None:
    secret = beside(staged, "secret")
    accounts = (staged.root / "etc/passwd").read_text()
    assert sh(staged, "cat /etc/passwd", accounts=Accounts.CONTAINER) == accounts
    assert b"No such file" in run(staged, "cat", str(secret)).err


def test_files_are_made_changed_and_removed(staged: Stage) -> None:
    script = """
        cd /tmp && mkdir -p work/deep && cd work && echo text >deep/one
        ln deep/one two && ln -s deep/one three && cp three four
        mv four deep/five && chmod 600 deep/five && stat -c '%a %s' deep/five
        cat two three; readlink three; realpath three; wc -c <two; find . -type f | wc -l
        cd .. && rm -r work; ls work
    """
    result = run(staged, "sh", "-c", script)
    lines = ["600 5", "text", "text", "deep/one", "/tmp/work/deep/one", "5", "3"]
    assert [line.strip() for line in result.out.decode().splitlines()] == lines
    assert b"No such file" in result.err


def test_binds_show_the_hosts_files_and_read_only_ones_stay_as_they_are(staged: Stage) -> None:
    beside(staged, "outer/file", "outer\n")
    beside(staged, "inner/file", "inner\n")
    one = beside(staged, "one", "one\n")
    outer, inner = staged.host / "outer", staged.host / "inner"
    mounts = (
        Mount(str(outer), "/srv/outer"),
        Mount(str(inner), "/srv/outer/deep/inner", read_only=True),
        Mount(str(one), "/etc/one"),
    )
    script = "cat /srv/outer/file /srv/outer/deep/inner/file /etc/one; cd /srv/outer; echo new >new; ls"
    assert sh(staged, script, mounts=mounts).split() == ["outer", "inner", "one", "deep", "file", "new"]
    assert (outer / "new").read_text() == "new\n"
    result = run(staged, "sh", "-c", "echo x >/srv/outer/deep/inner/file || rm /etc/one", mounts=mounts)
    assert b"Read-only file system" in result.err
    assert (inner / "file").read_text() == "inner\n"


# ---- programs ----


def test_scripts_run_by_interpreters_of_the_image(staged: Stage) -> None:
    script = staged.root / "tmp/script"
    script.write_text('#!/usr/bin/env sh\necho "$0" "$1"; exit 3\n')
    script.chmod(0o755)
    if not (staged.root / "usr/bin/env").exists():
        script.write_text('#!/bin/env sh\necho "$0" "$1"; exit 3\n')
    result = run(staged, "/tmp/script", "a b")
    assert (result.status, result.out, result.err) == (3, b"/tmp/script a b\n", b"")


def test_programs_are_found_by_the_path_of_the_container(staged: Stage) -> None:
    tool = staged.root / "tmp/tool"
    tool.write_text("#!/bin/sh\nls -d /etc\n")
    tool.chmod(0o755)
    assert run(staged, "tool", env=(("PATH", "/none:/bin:/tmp"),)).out == b"/etc\n"
    assert run(staged, "no-such-program").status == 127
    assert run(staged, "/etc/passwd").status == 126


def test_pipes_of_many_programs_give_what_they_give_elsewhere(staged: Stage) -> None:
    script = (
        "seq 1 20000 | sort -r | sed s/9/x/ | grep x | tr x y | head -n 3; seq 500 | xargs -n 5 echo | wc -l"
    )
    assert sh(staged, script).split() == ["y999", "y998", "y997", "100"]


def test_a_shell_starts_and_awaits_hundreds_of_programs(staged: Stage) -> None:
    script = "i=0; for n in $(seq 200); do [ $(cat /etc/passwd | wc -l) != 0 ] && i=$((i+1)); done; echo $i"
    assert sh(staged, script) == "200\n"
    script = "for n in $(seq 60); do (sleep 0.3; echo $n) & done; wait; echo all"
    shown = sh(staged, script).split()
    assert shown[-1] == "all"
    assert sorted(map(int, shown[:-1])) == list(range(1, 61))


def test_programs_run_as_the_caller(staged: Stage) -> None:
    uid, gid = caller()
    script = "id -u; id -g; echo x >/tmp/mine; stat -c '%u %g' /tmp/mine; rm /tmp/mine"
    assert sh(staged, script) == f"{uid}\n{gid}\n{uid} {gid}\n"


def test_the_environment_is_what_is_asked_for(staged: Stage) -> None:
    made = staged.image(env=(("A", "image"), ("B", "image")))
    shown = sh(made, "env", env=(("B", "user's"),), environ={"SECRET": "x"}).splitlines()
    assert {"A=image", "B=user's"} <= set(shown)
    assert not [line for line in shown if "SECRET" in line or line.startswith("LD_")]


def test_the_working_directory_is_the_asked_one(staged: Stage) -> None:
    assert sh(staged, "pwd; cd ..; pwd; cd ../../..; pwd", workdir="/usr/bin") == "/usr/bin\n/usr\n/\n"


# ---- standard files, signals, limits ----


def test_bytes_pass_through_as_they_are(staged: Stage) -> None:
    data = bytes(range(256)) * 2000
    result = run(staged, "sh", "-c", "echo error >&2; cat | cat", stdin=data)
    assert (result.out, result.err) == (data, b"error\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT])
def test_the_end_by_a_signal_is_seen_so(staged: Stage, number: int) -> None:
    assert run(staged, "sh", "-c", f"ulimit -c 0; kill -{int(number)} $$").status == -number


def test_signals_run_the_traps_of_the_shell(staged: Stage) -> None:
    script = "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.01; done"
    launch = staged.plan("sh", "-c", script, **ordinary())
    with staged.start(launch, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"got\n"
    assert process.returncode == 7


def test_a_terminal_is_one_inside(staged: Stage) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    launch = staged.plan("sh", "-c", "[ -t 0 ] && tty && stty size", **ordinary())
    with staged.start(launch, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        assert process.wait(60) == 0
    text = read_terminal(master)
    os.close(master)
    assert re.fullmatch(rb"/dev/pts/\d+\s+33 99\s+", text)


def test_limits_are_the_callers(staged: Stage) -> None:
    launch = staged.plan("sh", "-c", "ulimit -n; ulimit -s; ulimit -c; ls -d /etc", **ordinary())
    for stack in (resource.RLIM_INFINITY, 1 << 20):
        text = "unlimited" if stack == resource.RLIM_INFINITY else "1024"

        def lower(stack: int = stack) -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (77, 77))
            resource.setrlimit(resource.RLIMIT_STACK, (stack, stack))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        assert staged.finish(launch, preexec_fn=lower).out == f"77\n{text}\n0\n/etc\n".encode()


# ---- the larger programs of a Debian ----


@on_debians
def test_the_loader_and_its_scripts_run_programs(staged: Stage, image: str) -> None:
    loader = "/lib/ld-linux.so.2" if image == I386 else "/lib64/ld-linux-x86-64.so.2"
    assert sh(staged, f"{loader} /bin/echo loaded") == "loaded\n"
    assert "libc.so.6 => /" in sh(staged, "ldd /bin/ls")


@on_debians
def test_a_loader_that_is_exchanged_is_the_next_programs(staged: Stage) -> None:
    """A program remembers its own loader for what it starts; the link that names it may change meanwhile."""
    directory = staged.root / "tmp/own"
    directory.mkdir()
    directory.chmod(0o777)
    shell = (staged.root / "bin/dash").read_bytes()
    (named,) = re.findall(rb"/lib(?:64)?/ld-linux[-.\w]*\0", shell)
    loader = named.rstrip(b"\0").decode()
    (directory / "sh").write_bytes(shell.replace(named, b"/tmp/own/loader".ljust(len(named), b"\0")))
    (directory / "sh").chmod(0o755)
    script = f"""
        cp {loader} other && ln -s {loader} loader || exit
        exec ./sh -c '
            ./sh -c "echo first"
            rm loader; ./sh -c "echo never" 2>/dev/null; echo $?
            ln -s other loader; ./sh -c "grep -q /tmp/own/other /proc/\\$\\$/maps && echo exchanged"
            rm loader; mkdir loader; ./sh -c "echo never" 2>/dev/null; echo $?
            rmdir loader; cp other loader; ./sh -c "grep -q /tmp/own/loader /proc/\\$\\$/maps && echo a file"
        '
    """
    assert sh(staged, f"cd /tmp/own; {script}") == "first\n127\nexchanged\n126\na file\n"


@on_debians
def test_perl_forks_opens_and_talks_through_sockets(staged: Stage) -> None:
    program = r"""
        use strict; use Socket; use POSIX; use File::Temp qw(tempdir);
        my $directory = tempdir(CLEANUP => 1); my $name = pack_sockaddr_un("$directory/socket"); my $sum = 0;
        local $SIG{ALRM} = sub { exit 9 }; alarm 30;
        socket(my $s, PF_UNIX, SOCK_STREAM, 0) or die; bind($s, $name) or die "bind: $!";
        listen($s, 5) or die;
        for my $n (1 .. 20) {
            next if fork;
            socket(my $c, PF_UNIX, SOCK_STREAM, 0) or die; connect($c, $name) or die "connect: $!";
            syswrite $c, "$n\n"; POSIX::_exit(0);
        }
        for (1 .. 20) { accept(my $c, $s) or die; $sum += <$c> }
        1 while wait != -1;
        print "$sum ", scalar(`echo from a shell`); opendir(my $d, "/etc") or die;
        print "passwd\n" if grep { $_ eq "passwd" } readdir $d;
    """
    assert staged.output("perl", "-e", program, **ordinary()) == "210 from a shell\npasswd\n"


@on_debians
def test_python_uses_threads_processes_and_temporary_files(staged: Stage) -> None:
    program = r"""
import os, signal, socket, subprocess, sys, tempfile, threading
with tempfile.TemporaryDirectory() as place:
    def work(number):
        for turn in range(20):
            name = os.path.join(place, f"{number}-{turn}")
            with open(name, "w") as file:
                file.write(name)
            assert open(name).read() == name
        shown = subprocess.run(["/bin/echo", str(number)], stdout=subprocess.PIPE, cwd=place, check=True)
        assert shown.stdout == b"%d\n" % number
    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(len(os.listdir(place)), sum(len(files) for _, _, files in os.walk(place)))
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(place + "/s")
        server.listen()
        client.connect(place + "/s")
        print(server.getsockname() == place + "/s" == client.getpeername())
print(os.path.exists(place), os.path.realpath("/proc/self/exe") == os.path.realpath(sys.executable))
"""
    assert staged.output("python3", "-c", program, **ordinary()) == "200 200\nTrue\nFalse True\n"


@on_debians
def test_the_package_database_is_read(staged: Stage) -> None:
    assert sh(staged, "dpkg-query -W -f '${Status}' bash; dpkg -S /usr/bin/env") == (
        "install ok installedcoreutils: /usr/bin/env\n"
    )
    assert sh(staged, "apt-cache policy apt | head -n 1") == "apt:\n"
