"""The sampler against real programs."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from udocker_batch.accounting.sampler import Measurement

PYTHON = sys.executable

# Burns CPU until os.times() has grown by that much, then tells how much it was.
BURN = """
import os, sys
def burn(seconds):
    begin = sum(os.times()[:2])
    while sum(os.times()[:2]) - begin < seconds:
        sum(range(2000))
"""


# A process of its own, as the hook is: measure() adopts orphans and reaps every child of its caller.
HOOK = """
import dataclasses, json, os, sys
from udocker_batch.accounting.sampler import measure
options = json.loads(sys.argv[1])
ready = options.pop("ready", None)
def started(pid):
    if ready:
        open(ready + ".new", "w").write(str(pid))
        os.rename(ready + ".new", ready)
result = measure(sys.argv[3:], dict(os.environ), None, on_start=started, **options)
open(sys.argv[2], "w").write(json.dumps(dataclasses.asdict(result)))
"""


def hook_command(tmp_path: Path, argv: list[str], **options: object) -> list[str]:
    return [PYTHON, "-c", HOOK, json.dumps(options), str(tmp_path / "result"), *argv]


def result_of(tmp_path: Path) -> Measurement:
    return Measurement(**json.loads((tmp_path / "result").read_text()))


def measured(tmp_path: Path, argv: list[str], **options: object) -> Measurement:
    subprocess.run(hook_command(tmp_path, argv, **options), check=True, timeout=120)
    return result_of(tmp_path)


def wait_for(path: Path, seconds: float = 30) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists():
            return path.read_text()
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def cpu(result: Measurement) -> float:
    return result.user_seconds + result.system_seconds


def test_exit_status_is_the_programs_own(tmp_path: Path) -> None:
    result = measured(tmp_path, ["sh", "-c", "exit 7"])
    assert (result.exit_status, result.signal) == (7, None)
    assert result.ended >= result.started
    assert result.wall_seconds > 0


def test_death_by_signal_is_128_and_the_signal(tmp_path: Path) -> None:
    result = measured(tmp_path, ["sh", "-c", "kill -SEGV $$"])
    assert (result.exit_status, result.signal) == (128 + signal.SIGSEGV, signal.SIGSEGV)


def test_missing_program_raises_as_execve_does() -> None:
    code = "from udocker_batch.accounting.sampler import measure; measure(['/no/such'], {}, None)"
    ended = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=False)
    assert "FileNotFoundError" in ended.stderr


def test_cpu_of_nested_children_that_exit_quickly_is_exact(tmp_path: Path) -> None:
    told = tmp_path / "told"
    told.mkdir()
    program = (
        BURN
        + f"""
def family(depth):
    children = []
    for _ in range(2 if depth else 0):
        child = os.fork()
        if child == 0:
            family(depth - 1)
            os._exit(0)
        children.append(child)
    burn(0.05)
    for child in children:
        os.waitpid(child, 0)
    open("{told}/%d" % os.getpid(), "w").write(repr(sum(os.times()[:2])))
family(3)
"""
    )
    result = measured(tmp_path, [PYTHON, "-c", program])
    files = list(told.iterdir())
    expected = sum(float(file.read_text()) for file in files)
    assert len(files) == 15
    assert expected >= 15 * 0.05
    # The rest is what each used after it wrote: os.times() counts hundredths, exits and start-up cost.
    assert expected - 15 * 0.02 <= cpu(result) <= expected + 15 * 0.04


def test_cpu_agrees_with_what_the_shell_that_waited_for_all_tells(tmp_path: Path) -> None:
    program = BURN + (
        "import resource\n"
        "for _ in range(20):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        burn(0.02); os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
        "used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
        f"open({str(tmp_path / 'told')!r}, 'w').write(repr(sum(u.ru_utime + u.ru_stime for u in used)))\n"
    )
    result = measured(tmp_path, [PYTHON, "-c", program])
    told = float((tmp_path / "told").read_text())
    assert told <= cpu(result) <= told + 0.05


def test_five_hundred_short_lived_children_are_counted(tmp_path: Path) -> None:
    """Each is too short for any sample; the program does not wait for half of them."""
    program = f"""
import os, resource
def used(who):
    u = resource.getrusage(who)
    return u.ru_utime + u.ru_stime
log = os.open({str(tmp_path / "told")!r}, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
for number in range(500):
    child = os.fork()
    if not child:
        if number % 2 and os.fork():
            os._exit(0)     # double fork: the grandchild is nobody's but the adopter's
        sum(range(50000))
        os.write(log, b"%.9f\\n" % used(resource.RUSAGE_SELF))
        os._exit(0)
    os.waitpid(child, 0)
os.write(log, b"%.9f\\n" % used(resource.RUSAGE_SELF))
"""
    result = measured(tmp_path, [PYTHON, "-c", program])
    times = [float(line) for line in (tmp_path / "told").read_text().split()]
    assert len(times) == 501
    # 750 processes in all, each of which used a little more after it told, or did not tell.
    assert sum(times) <= cpu(result) <= sum(times) + 750 * 0.002


def test_detached_daemon_left_over_is_ended_and_counted(tmp_path: Path) -> None:
    daemon = BURN + (
        "if os.fork(): os._exit(0)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "burn(0.4)\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "import time\n"
        "time.sleep(1000)\n"
    )
    script = f'"$0" -c "$1"; while [ ! -s {tmp_path}/pid ]; do sleep 0.05; done'
    result = measured(tmp_path, ["sh", "-c", script, PYTHON, daemon])
    assert cpu(result) >= 0.4
    assert gone(int((tmp_path / "pid").read_text()))


def test_what_is_left_over_and_ignores_term_is_killed(tmp_path: Path) -> None:
    left = f"trap '' TERM; echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; sleep 1000"
    script = f'sh -c "$0" & while [ ! -e {tmp_path}/pid ]; do sleep 0.05; done; exit 4'
    result = measured(tmp_path, ["sh", "-c", script, left])
    assert result.exit_status == 4
    assert gone(int((tmp_path / "pid").read_text()))


def test_what_is_left_over_may_clean_up(tmp_path: Path) -> None:
    left = f"trap 'echo done > {tmp_path}/cleaned; exit' TERM; : > {tmp_path}/up; while :; do sleep 0.1; done"
    script = f'sh -c "$0" & while [ ! -e {tmp_path}/up ]; do sleep 0.05; done'
    measured(tmp_path, ["sh", "-c", script, left])
    assert (tmp_path / "cleaned").read_text() == "done\n"


def test_peak_memory_is_the_sum_of_processes_alive_together(tmp_path: Path) -> None:
    program = f"""
import os, time
child = os.fork()
name = {str(tmp_path)!r} + ("/parent" if child else "/child")
other = {str(tmp_path)!r} + ("/child" if child else "/parent")
held = bytearray(os.urandom(1)) * (100 << 20)
open(name, "w").close()
while not os.path.exists(other):
    time.sleep(0.01)
time.sleep(0.3)    # both hold their memory: long enough for samples, which are 50 ms apart by now
if child:
    os.waitpid(child, 0)
"""
    result = measured(tmp_path, [PYTHON, "-c", program])
    assert 200 << 20 <= result.peak_memory < 300 << 20


def test_peak_memory_of_a_small_program_is_not_that_of_the_hook(tmp_path: Path) -> None:
    result = measured(tmp_path, ["sleep", "0.2"])
    assert 0 < result.peak_memory < 8 << 20


def test_peak_memory_is_never_below_the_largest_process(tmp_path: Path) -> None:
    program = "import os; held = bytearray(150 << 20); os._exit(0)"
    assert measured(tmp_path, [PYTHON, "-c", program], interval=60).peak_memory >= 150 << 20


def test_written_and_read_bytes_are_those_of_the_whole_tree(tmp_path: Path) -> None:
    script = f"head -c 3000000 /dev/zero > {tmp_path}/data; (cat {tmp_path}/data > {tmp_path}/copy &) "
    script += (
        f"; while [ ! -e {tmp_path}/copy ] || ! cmp -s {tmp_path}/data {tmp_path}/copy; do sleep 0.05; done"
    )
    result = measured(tmp_path, ["sh", "-c", script])
    if result.written_bytes is None:
        pytest.skip("this kernel keeps no I/O accounting (CONFIG_TASK_IO_ACCOUNTING)")
    assert 6_000_000 <= result.written_bytes < 6_100_000
    assert result.read_bytes is not None and result.read_bytes >= 6_000_000 + 6_000_000
    assert result.storage_written_bytes is not None and result.storage_read_bytes is not None


def test_io_of_this_process_itself_is_not_counted(tmp_path: Path) -> None:
    code = HOOK.replace("    if ready:", "    open(os.devnull, 'wb').write(bytes(50_000_000))\n    if ready:")
    command = hook_command(tmp_path, ["sleep", "0.3"])
    command[2] = code
    subprocess.run(command, check=True, timeout=60)
    result = result_of(tmp_path)
    assert (result.written_bytes or 0) < 1000
    assert (result.read_bytes or 0) < 100_000  # the program's own start


def test_io_of_a_program_in_a_user_namespace_is_counted(tmp_path: Path) -> None:
    probe = subprocess.run(["unshare", "-Ur", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("this host allows no user namespaces (sysctl kernel.unprivileged_userns_clone=1)")
    result = measured(
        tmp_path, ["unshare", "-Ur", "sh", "-c", f"head -c 2000000 /dev/zero > {tmp_path}/data"]
    )
    if result.written_bytes is None:
        pytest.skip("this kernel keeps no I/O accounting (CONFIG_TASK_IO_ACCOUNTING)")
    assert 2_000_000 <= result.written_bytes < 2_100_000


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "QUIT", "USR1", "USR2"])
def test_signal_to_the_hook_reaches_the_program(tmp_path: Path, name: str) -> None:
    # A test run in the background hands an ignored INT and QUIT down, which sh cannot trap.
    script = f"trap 'exit 3' {name}; : > {tmp_path}/trapped; while :; do sleep 0.05; done"
    hook = subprocess.Popen(hook_command(tmp_path, ["env", "--default-signal", "sh", "-c", script]))
    wait_for(tmp_path / "trapped")
    hook.send_signal(getattr(signal, f"SIG{name}"))
    assert hook.wait(30) == 0
    assert result_of(tmp_path).exit_status == 3


def test_signal_that_arrives_before_the_program_starts_is_not_lost(tmp_path: Path) -> None:
    # Sent between the call of measure() and the fork.
    early = """
import udocker_batch.accounting.sampler as sampler
start = sampler.start
def late_start(*arguments):
    os.kill(os.getpid(), 15)
    return start(*arguments)
sampler.start = late_start
"""
    command = hook_command(tmp_path, ["sleep", "100"])
    command[2] = HOOK.replace("result = measure", early + "result = measure")
    subprocess.run(command, check=True, timeout=60)
    assert result_of(tmp_path).exit_status == 128 + signal.SIGTERM


def test_key_on_a_terminal_reaches_the_program_once(tmp_path: Path) -> None:
    program = (
        "import os, signal, time\n"
        "count = 0\n"
        "def got(*_):\n"
        "    global count\n"
        "    count += 1\n"
        "signal.signal(signal.SIGINT, got)\n"
        f"open({str(tmp_path / 'trapped')!r}, 'w').close()\n"
        "deadline = time.monotonic() + 20\n"
        "while not count and time.monotonic() < deadline:\n"
        "    time.sleep(0.05)\n"
        "time.sleep(0.5)\n"  # time for a second one, which must not come
        "os._exit(count)\n"
    )
    command = hook_command(tmp_path, [PYTHON, "-c", program])
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    wait_for(tmp_path / "trapped")
    os.write(terminal, b"\x03")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(terminal)
    assert result_of(tmp_path).exit_status == 1


def test_stopped_hook_stops_its_program_and_goes_on_with_it(tmp_path: Path) -> None:
    command = hook_command(tmp_path, ["sh", "-c", "sleep 1000"], ready=str(tmp_path / "pid"))
    # In a group of its own: that of the tests may be orphaned, and no SIGTSTP stops such a one (setpgid(2)).
    hook = subprocess.Popen(command, preexec_fn=os.setpgrp)
    program = int(wait_for(tmp_path / "pid"))
    hook.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(hook.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    hook.send_signal(signal.SIGCONT)
    _, status = os.waitpid(hook.pid, os.WCONTINUED)
    assert os.WIFCONTINUED(status)
    os.kill(program, signal.SIGKILL)
    assert hook.wait(30) == 0
    assert result_of(tmp_path).exit_status == 128 + signal.SIGKILL


def test_hook_started_with_sigchld_ignored_still_counts(tmp_path: Path) -> None:
    command = hook_command(tmp_path, [PYTHON, "-c", BURN + "burn(0.2)"])
    subprocess.run(["env", "--ignore-signal=CHLD", *command], check=True, timeout=60)
    assert cpu(result_of(tmp_path)) >= 0.2


def test_children_of_a_parent_that_ignores_sigchld_are_counted_as_far_as_seen(tmp_path: Path) -> None:
    program = BURN + (
        "import signal\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "if not os.fork():\n"
        "    burn(0.6); os._exit(0)\n"
        "try:\n"
        "    os.wait()\n"
        "except ChildProcessError:\n"
        "    pass\n"
    )
    result = measured(tmp_path, [PYTHON, "-c", program])
    assert 0.3 <= cpu(result) <= 0.8


def test_error_in_on_start_ends_the_program(tmp_path: Path) -> None:
    code = HOOK.replace("    if ready:", "    raise SystemExit(str(pid))\n    if ready:")
    command = hook_command(tmp_path, ["sleep", "1000"])
    command[2] = code
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert gone(int(ended.stderr))


def test_measure_gives_the_callers_signal_mask_back(tmp_path: Path) -> None:
    code = HOOK + "import signal; assert signal.pthread_sigmask(0, ()) == set()\n"
    command = hook_command(tmp_path, ["true"])
    command[2] = code
    subprocess.run(command, check=True, timeout=60)


def test_program_starts_with_no_signal_held(tmp_path: Path) -> None:
    script = f"grep SigBlk /proc/self/status > {tmp_path}/mask"
    measured(tmp_path, ["sh", "-c", script])
    assert int((tmp_path / "mask").read_text().split()[1], 16) == 0


def test_import_is_cheap() -> None:
    code = (
        "import sys, udocker_batch.accounting.sampler; print({'rich', 'requests', 'yaml'} & set(sys.modules))"
    )
    ended = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"
