"""``udocker run``'s options and the images' own wishes, as an ordinary user types them."""

from __future__ import annotations

import json
import os
import pwd
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.commands import Commands
from tests.services.base_images import PushedImage
from tests.services.sharing import session_directory
from tests.services.users import User


@pytest.fixture(scope="module")
def box(user1: User, udocker_bin: Path, busybox_image: PushedImage) -> Iterator[Commands]:
    """A store with a container named box, for tests that leave both as they are."""
    with session_directory("store") as directory:
        os.chown(directory, user1.uid, user1.gid)
        commands = Commands(user1, udocker_bin, directory / "store")
        commands.good("create", "--name=box", busybox_image.reference)
        yield commands


@pytest.fixture
def own_box(udocker: Commands, busybox_image: PushedImage) -> Commands:
    """The same for a test of its own."""
    udocker.good("create", "--name=box", busybox_image.reference)
    return udocker


def give(path: Path, commands: Commands, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    for name in (path, path.parent):
        os.chown(name, commands.user.uid, commands.user.gid)
    return path


def configure(commands: Commands, **config: Any) -> None:
    """Change what the image of the container box says."""
    path = next((commands.store / "containers").glob("*-*/container.json"))
    document = json.loads(path.read_text())
    document["config"] = {**document["config"], **config}
    path.write_text(json.dumps(document))


OPTIONS = (
    "-i",
    "-t",
    "-it",
    "-a",
    "-P",
    "--publish-all",
    "--netcoop",
    "--hostauth",
    "--containerauth",
    "--nosysdirs",
    "--hostenv",
    "--bindhome",
    "--nobanner",
    "-p=8080:8080",
    "--publish=8080:8080",
    "--novol=/proc",
    "-v=/usr",
    "--volume=/usr",
    "-e=A=1",
    "--env=A=1",
    "--env-file=/dev/null",
    "-u=root",
    "--user=1:2",
    "--user=somebody",
    "-w=/tmp",
    "--workdir=/tmp",
    "--cpuset-cpus=0",
    "--device=/dev/null",
    "--pull",
    "--pull=never",
    "--pull=missing",
    "--pull=reuse",
    "--platform=linux/amd64",
    "--index=x",
    "--registry=y",
    "--httpproxy=z",
)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_udocker_runs_without_a_word(box: Commands, option: str) -> None:
    result = box("run", option, "box", "echo", "hello", check=True)
    assert (result.stdout, result.stderr) == ("hello\n", "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kernel=5.4.0", "--execmode=R1"], "T and P can show another"),
        (["--publish", "80:8080", "--execmode=R1"], "80:8080: not mapped"),
        (["--dns=1.1.1.1"], "no effect"),
        (["--dns-search=example.org"], "no effect"),
        (["--volumes-from=other"], "no effect"),
        (["--novol=/nosuch"], "--novol /nosuch"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_the_run_goes_on(
    box: Commands, options: list[str], words: str
) -> None:
    result = box("run", *options, "box", "echo", "hello", check=True)
    assert result.stdout == "hello\n"
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cpuset-cpus=60000"], "not available"),
        (["--cpuset-cpus=a"], "not a number"),
        (["--publish=x"], "not a port"),
        (["--device=/dev/nosuch"], "no such device"),
        (["--device=/dev/null:/dev/nosuch"], "shown as it is"),
        (["-v", "/no/such/path:/x"], "/no/such/path"),
        (["-v", "/usr:/"], "root cannot be replaced"),
        (["--env-file=/nosuch"], "No such file"),
        (["--env-file=/etc/passwd"], "line 1"),
        (["--hostauth", "--user=no-such-user"], "knows no such user"),
        (["--containerauth", "--user=no-such-user"], "not in the container"),
        (["--execmode=S1"], "no engine for it"),
        (["--execmode=X1"], "unknown"),
        (["--location=/nosuch"], "not a directory"),
        (["--workdir=relative"], "not an absolute path"),
    ],
)
def test_what_makes_no_sense_is_refused(box: Commands, options: list[str], words: str) -> None:
    assert words in box.bad("run", *options, "box", "true")


def test_the_users_of_the_host_are_shown_with_the_callers_own(box: Commands) -> None:
    user = box.user
    script = "id -un; id -u; grep -c root /etc/passwd; echo $HOME"
    made = box.good("run", "--hostauth", f"--user={user.name}", "box", "sh", "-c", script).splitlines()
    assert made[:2] == [user.name, str(user.uid)]
    assert made[3] == pwd.getpwnam(user.name).pw_dir
    assert box.good("run", "--hostauth", "box", "cat", "/etc/passwd").startswith(
        Path("/etc/passwd").read_text()
    )


def test_a_user_whom_the_image_does_not_know_is_the_caller(box: Commands) -> None:
    user = box.user
    script = 'id -un; id -gn; id -u; touch /tmp/mine; stat -c "%U" /tmp/mine'
    made = box.good("run", f"--user={user.name}", "box", "sh", "-c", script).splitlines()
    assert (made[0], made[2], made[3]) == (user.name, str(user.uid), user.name)
    assert user.name not in box.good("run", "box", "cat", "/etc/passwd")  # nothing stays behind
    assert box.good("run", "--user=4321", "box", "id", "-un") == "user4321\n"


def test_home_is_bound_at_its_path(box: Commands) -> None:
    user = box.user
    home = pwd.getpwnam(user.name).pw_dir
    script = f"cd {home} && pwd; echo $HOME"
    result = box.good("run", "--bindhome", f"--user={user.name}", "box", "sh", "-c", script)
    assert result == f"{home}\n{home}\n"


def test_variables_come_from_files_the_host_and_the_command_line(box: Commands) -> None:
    file = give(box.user.home / "variables" / "env", box, "# mine\nA=file\nB=two words\nPASSED\n")
    script = 'echo "$A|$B|$PASSED|$HIDDEN"'
    words = ["--env-file", str(file), "-e", "A=line", "box", "sh", "-c", script]
    env = {"PASSED": "here", "HIDDEN": "host"}
    assert box.good("run", *words, env=env) == "line|two words|here|\n"
    assert box.good("run", "--hostenv", *words, env=env) == "line|two words|here|host\n"


def test_processors_are_those_that_are_asked_for(box: Commands) -> None:
    cpu = max(os.sched_getaffinity(0))
    script = "grep Cpus_allowed_list /proc/self/status"
    assert box.good("run", f"--cpuset-cpus={cpu}", "box", "sh", "-c", script).split()[1] == str(cpu)


def test_a_device_has_the_name_that_is_asked_for(box: Commands) -> None:
    script = "echo x > /my/null && test -c /my/null && wc -c < /my/null"
    assert box.good("run", "--device=/dev/null:/my/null:rw", "box", "sh", "-c", script).strip() == "0"
    alone = box.good("run", "--nosysdirs", "--device=/dev/null", "box", "ls", "/dev")
    assert alone == "null\n"


def test_a_port_that_keeps_its_number_is_open_on_the_host(box: Commands) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = f"echo served | nc -l -p {port} -w 30"
    command = [box.programs / "udocker", "run", "-p", f"{port}:{port}", "box", "sh", "-c", script]
    server = box.user.popen(command, env={"UDOCKER_DIR": str(box.store)})
    try:
        assert fetch(port) == b"served\n"
    finally:
        server.kill()
        server.wait()


def fetch(port: int) -> bytes:
    """What a server says that may not listen yet."""
    for _ in range(300):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.settimeout(10)
                return connection.recv(100)
        except ConnectionRefusedError:
            select.select([], [], [], 0.1)
    raise AssertionError(f"nothing listens on port {port}")


def test_a_volume_may_be_left_out_again(box: Commands) -> None:
    script = "ls /usr/share /proc | wc -l"
    assert (
        box.good("run", "--novol=/proc", "-v", "/usr/share", "--novol=/usr/share", "box", "ls", "/proc") == ""
    )
    assert int(box.good("run", "-v", "/usr/share", "box", "sh", "-c", script)) > 10


def test_a_root_directory_anywhere_can_be_run(box: Commands) -> None:
    root = box.good("inspect", "-p", "box").strip()
    assert box.good("run", f"--location={root}", "none", "echo", "hi") == "hi\n"
    assert box.good("run", f"--location={root}", input="echo from a shell\n") == "from a shell\n"
    elsewhere = Commands(box.user, box.programs, box.store.with_name("nosuchstore"))
    assert elsewhere.good("run", f"--location={root}", "none", "echo", "hi") == "hi\n"
    assert not elsewhere.store.exists()


def test_rm_removes_the_container_unless_it_is_protected(own_box: Commands) -> None:
    own_box.good("protect", "box")
    assert own_box.good("run", "--rm", "box", "echo", "hi") == "hi\n"
    own_box.good("unprotect", "box")
    assert own_box("run", "--rm", "box", "sh", "-c", "exit 3").returncode == 3
    assert len(own_box.good("ps").splitlines()) == 1


def test_rm_keeps_a_container_that_could_not_run(own_box: Commands) -> None:
    own_box.bad("run", "--rm", "--user=0:no-such-group", "box", "true")
    assert "box" in own_box.good("ps")


def test_a_name_is_given_to_the_container_that_runs(own_box: Commands) -> None:
    own_box.good("run", "--name=second", "box", "true")
    assert "['box', 'second']" in own_box.good("ps")
    own_box.good("run", "--name=second", "box", "true")  # it has that already


def test_many_runs_at_once_share_the_container_that_they_name(
    udocker: Commands, busybox_image: PushedImage
) -> None:
    words = ["run", "--pull=reuse", "--name=mine", busybox_image.reference, "echo", "hi"]
    command = [str(udocker.programs / "udocker"), *words]
    env = {"UDOCKER_DIR": str(udocker.store)}
    started = [udocker.user.popen(command, env=env, stdout=subprocess.PIPE) for _ in range(6)]
    assert [process.communicate()[0] for process in started] == ["hi\n"] * 6
    assert len(udocker.good("ps").splitlines()) == 2


def test_pull_policies(udocker: Commands, busybox_image: PushedImage) -> None:
    image = busybox_image.reference
    assert "not here" in udocker.bad("run", "--pull=never", image, "true")
    reuse = [
        "run",
        "--pull=reuse",
        "--name=mine",
        image,
        "sh",
        "-c",
        "echo x >> /tmp/runs; wc -l < /tmp/runs",
    ]
    assert [udocker.good(*reuse).strip() for _ in range(3)] == ["1", "2", "3"]
    assert len(udocker.good("ps").splitlines()) == 2
    assert udocker.good("run", "--rm", "--pull=never", image, "echo", "local") == "local\n"
    assert udocker.good("run", "--rm", "--pull", "always", image, "echo", "pulled") == "pulled\n"
    assert "pull" in udocker.bad("run", "--pull=always", "127.0.0.1:9/no/such", "true")


def test_a_mode_for_all_containers_comes_from_the_environment(box: Commands) -> None:
    for mode in ("R1", "T2", "t1", "P1", "f3"):
        assert box.good("run", "box", "echo", "hi", env={"UDOCKER_DEFAULT_EXECUTION_MODE": mode}) == "hi\n"
    message = box.bad("run", "box", "true", env={"UDOCKER_DEFAULT_EXECUTION_MODE": "X9"})
    assert "UDOCKER_DEFAULT_EXECUTION_MODE" in message


COMMANDS: tuple[tuple[dict[str, Any], list[str], list[str], str], ...] = (
    ({"Entrypoint": ["echo", "entry"], "Cmd": ["default"]}, [], [], "entry default"),
    ({"Entrypoint": ["echo", "entry"], "Cmd": ["default"]}, [], ["mine"], "entry mine"),
    ({"Entrypoint": None, "Cmd": ["echo", "cmd"]}, [], [], "cmd"),
    ({"Entrypoint": [], "Cmd": "echo  $((1+1))  'two words'"}, [], [], "2 two words"),
    ({"Entrypoint": "", "Cmd": ["echo", ""]}, [], [], ""),
    ({"Entrypoint": "echo", "Cmd": ["a"]}, [], ["b"], "b"),
    ({"Entrypoint": ["/nosuch"]}, ["--entrypoint="], ["echo", "none"], "none"),
    ({"Entrypoint": ["/nosuch"]}, ["--entrypoint", ""], ["echo", "none"], "none"),
    ({"Entrypoint": ["/nosuch"], "Cmd": ["dropped"]}, ["--entrypoint=echo new"], [], "new"),
    ({"Entrypoint": ["/nosuch"]}, ["--nometa"], ["echo", "bare"], "bare"),
)


def test_the_images_command_is_dockers(own_box: Commands) -> None:
    for config, options, words, expected in COMMANDS:
        configure(own_box, **config)
        assert own_box.good("run", *options, "box", *words) == f"{expected}\n", config


def test_the_images_user_directory_variables_and_volumes_are_dockers(own_box: Commands) -> None:
    configure(
        own_box, User="7:8", WorkingDir="/made/here", Env=["A=image"], Volumes={"/volume": {}, "data/x": {}}
    )
    script = "id -u; id -g; pwd; echo $A; touch /volume/f /data/x/f && echo written"
    assert own_box.good("run", "box", "sh", "-c", script) == "7\n8\n/made/here\nimage\nwritten\n"
    mine = ["-u", "0", "-w", "/tmp", "-e", "A=mine"]
    assert own_box.good("run", *mine, "box", "sh", "-c", script) == "0\n0\n/tmp\nmine\nwritten\n"
    bare = own_box.good("run", "--nometa", "box", "sh", "-c", "id -u; pwd; echo $A")
    assert bare == "0\n/\n\n"


def test_nothing_but_the_programs_output_reaches_its_output(box: Commands) -> None:
    """On a terminal as well: script(1) gives it one."""
    command = f"'{box.programs}/udocker' run box echo only"
    result = box.user.run(["script", "-qec", command, "/dev/null"], env={"UDOCKER_DIR": str(box.store)})
    assert result.stdout.replace("\r", "") == "only\n"
