"""Containers that run: in the background, joined, stopped, killed, as an ordinary user types it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.real.commands import Commands
from tests.services.base_images import PushedImage
from tests.services.needs import need_command
from tests.services.waiting import wait_until

MODES = ("R1", "T2")


@pytest.fixture
def plain_box(udocker: Commands, busybox_image: PushedImage) -> Iterator[Commands]:
    """The same in whatever mode it is run in."""
    udocker.good("create", "--name=box", busybox_image.reference)
    yield udocker
    udocker("rm", "-f", "box")


@pytest.fixture(params=MODES)
def box(udocker: Commands, busybox_image: PushedImage, request: pytest.FixtureRequest) -> Iterator[Commands]:
    """A store with a container named box that runs in each mode; nothing is left running."""
    udocker.good("create", "--name=box", busybox_image.reference)
    udocker.good("setup", f"--execmode={request.param}", "box")
    yield udocker
    udocker("rm", "-f", "box")


def status_of(udocker: Commands) -> str:
    """What ps says of the only container."""
    (line,) = udocker.good("ps").splitlines()[1:]
    match = re.search(r"(running|ended) .*", line)
    return match[0].strip() if match else ""


def records(udocker: Commands) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (udocker.store / "runs").glob("*/*.json")]


def test_a_run_in_the_background_prints_the_id_and_goes_on(box: Commands) -> None:
    result = box("run", "-d", "box", "sh", "-c", "echo out; echo err >&2; sleep 600", check=True)
    container = result.stdout.strip()
    assert (box.store / "containers" / container).is_dir()
    assert result.stderr == ""
    assert status_of(box).startswith("running for")
    wait_until(lambda: "err" in box("logs", "box").stderr, "the state that is waited for")
    printed = box("logs", "box", check=True)
    assert (printed.stdout, printed.stderr) == ("out\n", "err\n")
    assert box.good("stop", "-t", "1", "box") == "box\n"
    assert box.good("wait", "box") == "143\n"
    assert box.good("stop", "box") == "box\n"
    assert status_of(box).endswith("ago (143)")
    assert box.good("logs", "--tail", "1", "box").strip() in ("out", "")


def test_the_status_of_a_run_in_the_background_is_told_by_wait(box: Commands) -> None:
    box.good("run", "--detach", "box", "sh", "-c", "sleep 0.5; exit 7")
    assert box.good("wait", "box") == "7\n"
    assert box.good("wait", "box") == "7\n"


def test_a_program_that_cannot_start_is_told_as_in_the_foreground(box: Commands) -> None:
    result = box("run", "-d", "box", "nosuch")
    assert (result.returncode, result.stdout) == (127, "")
    assert result.stderr.startswith("udocker: run: nosuch: not found in the container")
    assert status_of(box) == ""


@pytest.mark.parametrize("status", [125, 126, 127])
def test_a_program_that_ends_at_once_with_a_launchers_status_was_started(box: Commands, status: int) -> None:
    assert box.good("run", "-d", "box", "sh", "-c", f"echo mine >&2; exit {status}").strip()
    assert box.good("wait", "box") == f"{status}\n"
    assert box("logs", "box").stderr == "mine\n"


def test_what_a_run_printed_is_kept_until_the_next_one_has_begun(box: Commands) -> None:
    for text in ("first", "second"):
        box.good("run", "-d", "box", "echo", text)
        box.good("wait", "box")
        assert box("run", "-d", "box", "nosuch").returncode == 127
        assert box.good("logs", "box") == f"{text}\n"
        assert len(list((box.store / "runs").glob("*/*.log"))) == 1
    assert len(records(box)) == 1


def test_logs_follows_until_the_run_ends(box: Commands) -> None:
    box.good("run", "-d", "box", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done")
    lines = box.good("logs", "-f", "-t", "box").splitlines()
    assert [line.split(" ")[1] for line in lines] == ["1", "2", "3"]
    assert box.good("logs", "--since", lines[1].split(" ")[0], "box") == "2\n3\n"


def test_exec_joins_a_run_in_the_background(box: Commands) -> None:
    box.good("run", "-d", "-e", "A=of the run", "-w", "/tmp", "box", "sh", "-c", "echo x >made; sleep 600")
    wait_until(lambda: box("exec", "box", "cat", "made").stdout == "x\n", "the state that is waited for")
    assert box.good("exec", "-e", "B=own", "box", "sh", "-c", "echo $A, $B") == "of the run, own\n"
    assert box("exec", "box", "sh", "-c", "exit 3").returncode == 3
    assert box.good("exec", "-w", "/etc", "box", "pwd") == "/etc\n"
    assert box("exec", "-i", "box", "cat", input="passed").stdout == "passed"
    assert box.good("exec", "-d", "box", "sleep", "601") == ""
    wait_until(lambda: "sleep 601" in box.good("top", "box"), "the state that is waited for")
    refused = box("exec", "-d", "box", "nosuch")
    assert (refused.returncode, refused.stdout) == (127, "")
    assert refused.stderr.startswith("udocker: exec: nosuch: not found in the container")
    assert "sleep 600" in box.good("top", "box")
    box.good("kill", "box")
    assert box.good("wait", "box") == "137\n"
    wait_until(lambda: box("top", "box").returncode == 125, "the state that is waited for")


def test_a_run_in_the_foreground_is_known(box: Commands) -> None:
    argv = [box.programs / "udocker", "run", "box", "sh", "-c", "echo up; read end"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with box.user.popen(argv, env={"UDOCKER_DIR": str(box.store)}, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert status_of(box).startswith("running for")
        assert box.good("exec", "box", "echo", "hello") == "hello\n"
        assert "rm: box: running" in box.bad("rm", "box")
        box.good("kill", "-s", "TERM", "box")
        assert process.wait(60) in (-signal.SIGTERM, 128 + signal.SIGTERM)
    assert status_of(box) == ""
    assert "not running" in box.bad("exec", "box", "true")


def test_rm_in_the_background_takes_the_container_away(udocker: Commands, busybox_image: PushedImage) -> None:
    udocker.good("run", "-d", "--rm", "--name=once", busybox_image.reference, "sleep", "600")
    assert "running" in udocker.good("ps")
    udocker.good("stop", "-t", "0", "once")
    assert len(udocker.good("ps").splitlines()) == 1
    assert list((udocker.store / "runs").iterdir()) == []


def test_the_end_of_who_waits_is_told_and_the_program_can_be_stopped(box: Commands) -> None:
    box.good("run", "-d", "box", "sleep", "600")
    (record,) = records(box)
    os.kill(record["keeper"]["pid"], signal.SIGKILL)
    wait_until(lambda: "who waited for it was killed" in status_of(box), "the state that is waited for")
    assert box.good("exec", "box", "echo", "lives") == "lives\n"
    assert "left: " in box("repair").stdout
    box.good("stop", "-t", "1", "box")
    assert "unknown" in status_of(box)
    assert "nobody was told" in box.bad("wait", "box")
    assert box.good("repair").startswith("mended: ")
    assert box.good("repair") == ""


def test_rm_leaves_a_container_to_the_last_that_runs_in_it(plain_box: Commands) -> None:
    (container,) = plain_box.good("run", "-d", "box", "sleep", "600").split()
    result = plain_box("run", "--rm", "box", "true")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == f"udocker: run: --rm: {container}: stays until what else runs in it has ended\n"
    assert status_of(plain_box).startswith("running for")
    assert plain_box.good("exec", "box", "ls", "/bin/busybox") == "/bin/busybox\n"
    assert plain_box.good("repair") == ""
    plain_box.good("run", "-d", "--rm", "box", "sleep", "600")
    plain_box.good("stop", "-t", "0", "box")
    gone = plain_box.store / "containers" / container  # by who waited for it, after the program's end
    wait_until(lambda: not gone.exists(), "the state that is waited for")
    wait_until(lambda: list((plain_box.store / "runs").iterdir()) == [], "the state that is waited for")


def test_rm_leaves_a_container_to_the_tasks_of_jobs(plain_box: Commands) -> None:
    above = plain_box.store.parent
    (above / "job.yaml").write_text("container: box\ncommand: [sleep, '600']\n")

    def batch(*words: str) -> str:
        argv = [plain_box.programs / "udocker-batch", *words]
        env = {"UDOCKER_DIR": str(plain_box.store)}
        return plain_box.user.run(argv, env=env, cwd=above, check=True).stdout

    job = batch("submit", "job.yaml", "--scheduler", "local").split()[-1]
    wait_until(lambda: status_of(plain_box).startswith("running for"), "the task")
    for options in ((), ("-f",)):
        assert "rm: box: running" in (refused := plain_box.bad("rm", *options, "box"))
        assert "udocker-batch cancel" in refused
    assert "only tasks of jobs run in it" in plain_box.bad("stop", "box")
    assert "stays until" in plain_box("run", "--rm", "box", "true", check=True).stderr
    batch("cancel", job)
    wait_until(lambda: not status_of(plain_box), "the task's end")
    assert "has left it to others" in plain_box.good("repair")


def test_repair_removes_what_a_run_with_rm_left_to_a_program_without_a_keeper(plain_box: Commands) -> None:
    argv = [plain_box.programs / "udocker", "run", "box", "sh", "-c", "echo up; read end"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with plain_box.user.popen(argv, env={"UDOCKER_DIR": str(plain_box.store)}, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert "stays until" in plain_box("run", "--rm", "box", "true", check=True).stderr
        assert plain_box.good("repair") == ""
        assert process.communicate("end\n", timeout=60) == ("", None)
    assert "left it to others, which have ended: removed" in plain_box.good("repair")
    assert len(plain_box.good("ps").splitlines()) == 1
    assert plain_box.good("repair") == ""


def test_the_end_of_run_with_rm_is_mended_by_repair(udocker: Commands, busybox_image: PushedImage) -> None:
    argv = [udocker.programs / "udocker", "run", "--rm", busybox_image.reference, "sleep", "600"]
    with udocker.user.popen(argv, env={"UDOCKER_DIR": str(udocker.store)}) as process:
        wait_until(lambda: any(one["program"] for one in records(udocker)), "the record")
        (record,) = records(udocker)
        process.kill()
    assert "who waited for it was killed" in udocker.good("ps")
    udocker.good("kill", record["container"])
    assert "--rm was killed: removed" in udocker.good("repair")
    assert len(udocker.good("ps").splitlines()) == 1


@pytest.mark.parametrize("moment", [0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3])
def test_no_container_of_a_run_with_rm_outlives_it_and_a_repair(
    udocker: Commands, busybox_image: PushedImage, moment: float
) -> None:
    udocker.good("pull", busybox_image.reference)
    argv = [udocker.programs / "udocker", "run", "--rm", busybox_image.reference, "sleep", "604"]
    process = udocker.user.popen(argv, env={"UDOCKER_DIR": str(udocker.store)})
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not programs_of(udocker), "the end of the program")
    assert udocker("repair").returncode == 0
    assert udocker.good("repair") == ""
    assert udocker.good("ps", "-aq") == ""
    assert list(udocker.store.glob("runs/*")) == []


def test_a_container_with_what_runs_in_it_is_removed_by_force(box: Commands) -> None:
    box.good("run", "-d", "box", "sh", "-c", "sleep 600 & sleep 601")
    lines = wait_until(lambda: _top_of_both(box), "both programs")
    pids = [int(line.split()[1]) for line in lines]
    assert "running" in box.bad("rm", "box")
    box.good("rm", "-f", "box")
    wait_until(lambda: not any(_runs(pid) for pid in pids), "the state that is waited for")
    assert len(box.good("ps").splitlines()) == 1


def test_top_shows_the_programs_and_not_what_traces_them(plain_box: Commands) -> None:
    plain_box.good("run", "-d", "--execmode=P1", "box", "sh", "-c", "sleep 600 & sleep 601")
    lines = wait_until(lambda: _top_of_both(plain_box), "both programs")
    assert len(lines) == 2
    plain_box.good("rm", "-f", "box")


def _top_of_both(box: Commands) -> list[str]:
    lines = box.good("top", "box").splitlines()[1:]
    return lines if sum("sleep 60" in line and "sh -c" not in line for line in lines) == 2 else []


def _runs(pid: int) -> bool:
    try:
        return "sleep" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def test_the_output_of_a_run_is_bounded(box: Commands) -> None:
    env = {"UDOCKER_OUTPUT_SIZE": "64k"}
    box.good("run", "-d", "box", "sh", "-c", "yes 0123456789 | head -c 1100000; echo end", env=env)
    assert box.good("wait", "box") == "0\n"
    files = list((box.store / "runs").glob("*/*.log*"))
    assert sum(path.stat().st_size for path in files) < (64 << 10) + 2 * (64 << 13)
    assert box.good("logs", "--tail=1", "box") == "end\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def greeting(port: int) -> bytes:
    """What is answered at a port of this host; empty while nobody is there."""
    try:
        with socket.create_connection(("127.0.0.1", port), 30) as connection:
            return connection.recv(100)
    except ConnectionRefusedError:
        return b""


def test_a_published_port_is_reached_under_its_number_of_the_host(plain_box: Commands) -> None:
    port = free_port()
    server = ("nc", "-ll", "-p", "80", "-e", "echo", "hello")
    result = plain_box("run", "-d", "--publish", f"{port}:80", "box", *server, check=True)
    assert result.stderr == ""
    wait_until(lambda: greeting(port) == b"hello\n", "the greeting")
    assert plain_box.good("port", "box") == f"80/tcp -> 0.0.0.0:{port}\n"
    assert plain_box.good("port", "box", "80") == f"0.0.0.0:{port}\n"
    assert "81/tcp: has no other number" in plain_box.bad("port", "box", "81")
    assert plain_box.good("exec", "box", "nc", "127.0.0.1", "80") == "hello\n"


def test_every_port_that_an_image_exposes_gets_a_free_one(plain_box: Commands) -> None:
    path = next((plain_box.store / "containers").glob("*-*/container.json"))
    document = json.loads(path.read_text())
    document["config"]["ExposedPorts"] = {"80/tcp": {}, "53/udp": {}}
    path.write_text(json.dumps(document))
    server = ("nc", "-ll", "-p", "80", "-e", "echo", "hello")
    result = plain_box("run", "-d", "-P", "box", *server, check=True)
    told = dict(line.removeprefix("udocker: ").split(" -> ") for line in result.stderr.splitlines())
    assert told.keys() == {"80/tcp", "53/udp"}
    port = int(told["80/tcp"].rpartition(":")[2])
    wait_until(lambda: greeting(port) == b"hello\n", "the greeting")
    assert plain_box.good("port", "box", "80/tcp") == f"0.0.0.0:{port}\n"


@pytest.mark.parametrize("moment", [0.02, 0.06, 0.1, 0.15, 0.2, 0.3])
def test_a_run_that_is_killed_at_any_moment_is_told_as_it_is(plain_box: Commands, moment: float) -> None:
    argv = [plain_box.programs / "udocker", "run", "-d", "box", "sleep", "604"]
    process = plain_box.user.popen(argv, env={"UDOCKER_DIR": str(plain_box.store)}, stdout=subprocess.DEVNULL)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    for record in records(plain_box):
        with suppress(ProcessLookupError):  # it has ended by itself
            os.kill(record["keeper"]["pid"], signal.SIGKILL)
    process.wait()
    wait_until(lambda: not keepers_of(plain_box), "the end of who waits")
    told = status_of(plain_box)
    assert told.startswith("running") == bool(programs_of(plain_box)), told
    plain_box.good("rm", "-f", "box")
    wait_until(lambda: not programs_of(plain_box), "the end of the program")
    assert plain_box("repair").returncode == 0
    assert plain_box.good("repair") == ""
    assert len(plain_box.good("ps").splitlines()) == 1


def programs_of(udocker: Commands) -> list[int]:
    return [pid for pid in user_processes(udocker) if command_line(pid) == "sleep 604"]


def keepers_of(udocker: Commands) -> list[int]:
    return [pid for pid in user_processes(udocker) if "run -d box" in command_line(pid)]


def user_processes(udocker: Commands) -> list[int]:
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}").st_uid == udocker.user.uid:
                found.append(int(name))
        except FileNotFoundError:
            continue  # it has ended
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()
    except OSError:
        return ""


def test_nothing_joins_a_run_under_another_tracer(plain_box: Commands) -> None:
    need_command("proot", "proot")
    env = {"UDOCKER_USE_PROOT_EXECUTABLE": "proot"}
    plain_box.good("run", "-d", "--execmode=P1", "box", "sleep", "600", env=env)
    assert "nothing can join a run under PRoot" in plain_box.bad("exec", "box", "true")
