"""The Linux Test Project's tests of calls that take paths say under every engine what they say under chroot.

Its source is what UDOCKER_TEST_LTP names, a checkout or a bare repository; without it, it is cloned.
"""

from __future__ import annotations

import os
import re
import subprocess
from functools import partial

import pytest

from tests.contract.roots import give
from tests.programs.comparison import FAILED, MISSING, OK, SKIPPED, Report, Results, Row, steady, worse
from tests.programs.runners import Chroot, Engined, Runner, workplace

URL = "https://github.com/linux-test-project/ltp"
CALLS = """
    access bind chdir chmod chown chroot close_range connect creat execl execle execlp execv execve
    execveat execvp faccessat faccessat2 fchdir fchmodat fchmodat2 fchownat fork futimesat getcwd
    getdents getxattr inotify lchown lgetxattr link linkat listxattr lstat mkdir mkdirat mknod mknodat
    name_to_handle_at open openat openat2 ppoll readdir readlink readlinkat removexattr rename renameat
    renameat2 rmdir rt_sigaction rt_sigprocmask rt_sigsuspend setxattr sigaltstack signal sigsuspend
    stat statfs statvfs statx symlink symlinkat truncate unlink unlinkat utime utimensat utimes vfork
""".split()  # noqa: SIM905 - eight lines read better than eighty
BUILT = "/build/ltp"
BUILD = f"""
    cd {BUILT} && make autotools && ./configure --disable-metadata &&
    make -j2 -C include && make -j2 -C lib && make -j2 -C libs &&
    for call in {" ".join(CALLS)}; do make -k -C testcases/kernel/syscalls/$call; done
"""
SECONDS = 2400
# What a test program's status means: LTP's documentation, "Test results".
MEANINGS = {0: OK, 32: SKIPPED}
LINE = re.compile(r"^\+\+ (\S+) (\d+)$", re.MULTILINE)


@pytest.fixture(scope="session")
def ltp(chroot: Chroot) -> None:
    """LTP, built in the root under chroot."""
    target = chroot.root / BUILT[1:]
    source = os.environ.get("UDOCKER_TEST_LTP", URL)
    clone = ["git", "clone", "--quiet", "--depth", "1", source, target]
    result = subprocess.run(clone, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if result.returncode != 0:
        pytest.skip(f"needs the source of LTP in UDOCKER_TEST_LTP: {source}: {result.stderr.strip()}")
    give(target)
    outcome = chroot(BUILD, SECONDS)
    assert outcome.status == 0, outcome.text[-3000:]


def run_call(runner: Runner, call: str, only: str = "*") -> Results:
    """The result of each of LTP's programs for a call, or of ``only`` one."""
    place = workplace(runner, f"ltp-{call}")
    directory = f"{BUILT}/testcases/kernel/syscalls/{call}"
    script = f"""
        export TMPDIR={place} LTPROOT={BUILT} LTP_TIMEOUT_MUL=4 PATH={directory}:$PATH && cd {directory}
        for test in {only}; do
            case $test in *.*|Makefile) continue;; esac
            [ -f $test ] && [ -x $test ] || continue
            timeout -k 5 120 ./$test >{place}/$test.log 2>&1; echo "++ $test $?"
        done
    """
    outcome = runner(script, SECONDS)
    return {name: MEANINGS.get(int(status), FAILED) for name, status in LINE.findall(outcome.text)}


def run_again(runners: dict[str, Runner], call: str, mode: str, test: str) -> str:
    """The result of one program by itself."""
    return run_call(runners[mode], call, test).get(test, MISSING)


@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize("call", CALLS)
def test_ltps_tests_say_what_they_say_under_chroot(
    ltp: None, chroot: Chroot, engined: Engined, known: dict[str, Results], report: Report, call: str
) -> None:
    name = f"ltp {call}"
    if name not in known:
        known[name] = run_call(chroot, call)
    expected, found = known[name], run_call(engined, call)
    assert expected
    differing = worse(expected, found)
    again = partial(run_again, {"chroot": chroot, engined.name: engined}, call)
    extra = {test: result for test, result in differing.items() if steady(test, again, engined.name)}
    unsteady = {test: result for test, result in differing.items() if test not in extra}
    row = Row(name, engined.name, expected, found, extra, unsteady)
    report.add(row)
    assert not row.faults()
