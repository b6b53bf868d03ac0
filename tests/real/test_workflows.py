"""Workflow programs that drive udocker as they stand: cwltool, Toil and miniwdl.

What they ask of udocker, read in cwltool 3.3.20260925135507, Toil 9.6.0 and miniwdl 1.16.0:

cwltool and Toil, told ``--user-space-docker-cmd=udocker`` (Toil runs every tool by cwltool's code)
    call ``udocker --quiet run --nobanner --volume=SOURCE:TARGET ... --workdir=DIR --rm --env=NAME=VALUE ...
    IMAGE COMMAND...``, without ``--quiet`` when they debug.  They never pull: ``run`` is to fetch what is
    missing, for as many jobs at once as there are.  IMAGE is ``dockerImageId`` where a tool has one, which
    may be a container's name, else ``dockerPull``.  They strip ``:ro`` from every volume, so that no input is
    mounted read-only.  A volume may lie inside another (a staged input in the working directory).  HOME is
    the working directory, TMPDIR is /tmp, and both are volumes.  The tool's standard output and error are
    udocker's own: a word of udocker in them would be in the results.  The exit status is looked up in the
    tool's lists of codes.  A tool over its time limit gets SIGTERM, by way of udocker.

miniwdl, told ``container_backend = udocker``
    calls ``udocker --allow-root --version`` once and logs the lines, ``udocker --allow-root pull IMAGE`` once
    an image, of which it wants the status, and for every task ``udocker --allow-root run --workdir DIR
    --nobanner --rm -v SOURCE:TARGET ... IMAGE /bin/sh -c COMMAND``, every option's value a word of its own.
    Files are mounted one by one into the working directory, which is a volume as well; nothing is mounted
    read-only here, either.  An aborted task gets SIGTERM, by way of udocker, and must end with all its
    processes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.real.commands import Commands
from tests.services.base_images import PushedImage
from tests.services.needs import is_root
from tests.services.registry import Registry
from tests.services.sharing import session_directory
from tests.services.users import SEARCH_PATH, User
from tests.services.waiting import wait_until
from tests.services.workflows import workflow_programs

DOCUMENTS = Path(__file__).parent / "workflows"
INPUTS = {
    "words.txt": "one\ntwo\n",
    "two words.txt": "three\n",
    "changed.txt": "original\n",
    "staged.txt": "staged\n",
    "tree/deep/er/leaf": "leaf\n",
}
COUNT = {
    "words": {"class": "File", "path": "words.txt"},
    "tree": {"class": "Directory", "path": "tree"},
    "piped": {"class": "File", "contents": "piped text\n"},
    "changed": {"class": "File", "path": "changed.txt"},
    "staged": {"class": "File", "path": "staged.txt"},
}
REPORT = """\
home is the working directory; TMPDIR=/tmp
greeting: [hello  world = 'quoted' $HOME]
words: one two\x20
tree: leaf
stdin: piped text
settings: made by the workflow
seen: staged
"""


@dataclass(frozen=True)
class Workspace:
    """A user's directory with documents and inputs, and the commands of one environment before ours."""

    udocker: Commands
    programs: Path
    path: Path

    @property
    def user(self) -> User:
        return self.udocker.user

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        """``command`` as the user types it, who has udocker on PATH."""
        search = f"{self.udocker.programs}:{self.programs}:{SEARCH_PATH}"
        # Where these programs put what is temporary, and leave some of it.
        scratch = {"TMPDIR": str(self.path), "PATH": search, "UDOCKER_DIR": str(self.udocker.store)}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return self.user.popen(command, env={**scratch, **env}, cwd=self.path, **streams)

    def run(self, *command: str, **env: str) -> Result:
        return finished(self.start(*command, **env))[0]

    def cwltool(self, *arguments: str) -> Result:
        return self.run("cwltool", "--user-space-docker-cmd=udocker", "--outdir=out", *arguments)

    def miniwdl(self, *arguments: str, **env: str) -> Result:
        """Its results, or its account of the failure, are on standard output."""
        return finished(self.start_miniwdl(*arguments, **env))[0]

    def start_miniwdl(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        backend = {"MINIWDL__SCHEDULER__CONTAINER_BACKEND": "udocker"}
        return self.start("miniwdl", "run", "--error-json", "--dir=runs", *arguments, **{**backend, **env})

    def document(self, name: str, image: PushedImage) -> str:
        """A document of DOCUMENTS that uses ``image``."""
        text = (DOCUMENTS / name).read_text(encoding="utf-8")
        (self.path / name).write_text(text.replace("@IMAGE@", image.reference), encoding="utf-8")
        return name

    def give_to_user(self) -> None:
        if is_root():
            for path in (self.path, *self.path.rglob("*")):
                os.chown(path, self.user.uid, self.user.gid)

    def order(self, name: str, inputs: dict[str, Any]) -> str:
        (self.path / name).write_text(json.dumps(inputs), encoding="utf-8")
        return name

    def assert_no_container_is_left(self) -> None:
        assert len(self.udocker.good("ps").splitlines()) == 1
        assert [path.name for path in (self.udocker.store / "containers").iterdir()] == []


@dataclass(frozen=True)
class Result:
    status: int
    stdout: str
    log: str

    def outputs(self) -> dict[str, Any]:
        """The outputs that the program announces, all of them having succeeded."""
        assert self.status == 0, self.log
        announced: dict[str, Any] = json.loads(self.stdout)
        return announced


def finished(*processes: subprocess.Popen[str], timeout: float = 300) -> list[Result]:
    """How each of them ended; none outlives this call."""
    try:
        return [_result(process, timeout) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()


def _result(process: subprocess.Popen[str], timeout: float) -> Result:
    stdout, stderr = process.communicate(timeout=timeout)
    return Result(process.returncode, stdout, stderr)


def text_of(output: dict[str, Any]) -> str:
    """The content of an output file."""
    return Path(output["path"]).read_text(encoding="utf-8")


def sleeper(seconds: str) -> Optional[int]:
    """The process that sleeps for so long."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == f"sleep\0{seconds}\0".encode():
                return int(path.parent.name)
        except OSError:
            continue  # it has ended meanwhile
    return None


def unmistakable_seconds() -> str:
    """A long time, other than any other process here sleeps for."""
    return str(10**6 + os.getpid())


@pytest.fixture(scope="module")
def cwl_programs() -> Iterator[Path]:
    with workflow_programs("cwl") as programs:
        yield programs


@pytest.fixture(scope="module")
def wdl_programs() -> Iterator[Path]:
    with workflow_programs("miniwdl") as programs:
        yield programs


@pytest.fixture
def cwl(udocker: Commands, registry: Registry, cwl_programs: Path) -> Iterator[Workspace]:
    with workspace(udocker, cwl_programs) as made:
        yield made


@pytest.fixture
def wdl(udocker: Commands, registry: Registry, wdl_programs: Path) -> Iterator[Workspace]:
    with workspace(udocker, wdl_programs) as made:
        yield made


@contextmanager
def workspace(udocker: Commands, programs: Path) -> Iterator[Workspace]:
    with session_directory("workflow") as path:
        for name, content in INPUTS.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(content, encoding="utf-8")
        made = Workspace(udocker, programs, path)
        made.give_to_user()
        yield made


def test_cwltool_stages_inputs_and_collects_outputs(cwl: Workspace, busybox_image: PushedImage) -> None:
    tool = cwl.document("count.cwl", busybox_image)
    outputs = cwl.cwltool(tool, cwl.order("count.json", COUNT)).outputs()
    assert_counted(outputs)
    assert (cwl.path / "changed.txt").read_text() == INPUTS["changed.txt"]  # the tool had a copy
    cwl.assert_no_container_is_left()


def assert_counted(outputs: dict[str, Any]) -> None:
    assert text_of(outputs["report"]) == REPORT
    assert text_of(outputs["errors"]) == "to stderr\n"
    assert [text_of(output) for output in outputs["data"]] == ["one\n", "two\n"]
    assert sorted(path.name for path in Path(outputs["folder"]["path"]).iterdir()) == ["one.dat", "two.dat"]
    assert text_of(outputs["edited"]) == "original\nchanged inside\n"


def test_cwltool_scatters_jobs_over_an_image_that_none_of_them_has_yet(
    cwl: Workspace, busybox_image: PushedImage
) -> None:
    numbers = [str(number) for number in range(6)]
    flow = cwl.document("scatter.cwl", busybox_image)
    outputs = cwl.cwltool("--parallel", flow, cwl.order("numbers.json", {"numbers": numbers})).outputs()
    assert text_of(outputs["together"]) == "".join(f"part {number}\n" for number in numbers)
    cwl.assert_no_container_is_left()


@pytest.mark.parametrize(
    ("status", "process_status", "exit_status"),
    [(3, "success", 0), (75, "temporaryFail", 1)],
)
def test_cwltool_gets_the_tools_own_exit_status(
    cwl: Workspace, busybox_image: PushedImage, status: int, process_status: str, exit_status: int
) -> None:
    result = cwl.cwltool(cwl.document("exit.cwl", busybox_image), f"--status={status}")
    assert result.status == exit_status
    assert f"completed {process_status}" in result.log
    assert (cwl.path / "out" / "said.txt").read_text() == f"ending with {status}\n"
    cwl.assert_no_container_is_left()


def test_cwltool_ends_a_tool_at_its_time_limit(cwl: Workspace, busybox_image: PushedImage) -> None:
    seconds = unmistakable_seconds()
    cwl.udocker.good("pull", busybox_image.reference)  # which would count for the limit
    result = cwl.cwltool(cwl.document("endless.cwl", busybox_image), f"--seconds={seconds}")
    assert result.status == 1
    assert f"exited with status: {128 + signal.SIGTERM}" in result.log
    assert sleeper(seconds) is None
    cwl.assert_no_container_is_left()


def test_cwltool_runs_a_container_that_was_prepared_under_a_name(
    cwl: Workspace, busybox_image: PushedImage
) -> None:
    cwl.udocker.good("create", "--name=prepared", busybox_image.reference)
    cwl.udocker.good("run", "prepared", "sh", "-c", "echo prepared >/mark")
    cwl.udocker.good("protect", "prepared")  # cwltool says --rm, which removes any other container
    outputs = cwl.cwltool(cwl.document("prepared.cwl", busybox_image)).outputs()
    assert text_of(outputs["mark"]) == "prepared\n"
    assert cwl.udocker.good("run", "prepared", "cat", "/mark") == "prepared\n"


def test_toil_stages_scatters_and_fails_as_cwltool_does(cwl: Workspace, busybox_image: PushedImage) -> None:
    # Three workflows at once, over a store that has nothing yet.
    numbers = {"numbers": ["1", "2"]}
    calls = [
        (cwl.document("count.cwl", busybox_image), cwl.order("count.json", COUNT)),
        (cwl.document("scatter.cwl", busybox_image), cwl.order("numbers.json", numbers)),
        (cwl.document("exit.cwl", busybox_image), cwl.order("exit.json", {"status": 4})),
    ]
    started = [
        cwl.start(
            "toil-cwl-runner",
            "--user-space-docker-cmd=udocker",
            "--retryCount=0",
            f"--coordinationDir={cwl.path}",
            f"--outdir=out{position}",
            *call,
        )
        for position, call in enumerate(calls)
    ]
    counted, scattered, failed = finished(*started)
    assert_counted(counted.outputs())
    assert text_of(scattered.outputs()["together"]) == "part 1\npart 2\n"
    assert failed.status == 1
    assert "exited with status: 4" in failed.log
    cwl.assert_no_container_is_left()


# Its tasks' commands are read by bash if not told otherwise.
BUSYBOX = {"MINIWDL__TASK_RUNTIME__COMMAND_SHELL": "/bin/sh"}


def test_miniwdl_runs_tasks_at_once_with_files_in_and_out(wdl: Workspace, busybox_image: PushedImage) -> None:
    flow = wdl.document("words.wdl", busybox_image)
    texts = [f"texts={name}" for name in ("words.txt", "two words.txt")]
    outputs = wdl.miniwdl(flow, "greeting=hello  world", *texts, **BUSYBOX).outputs()["outputs"]
    assert outputs["words.numbers"] == [2, 1]
    assert outputs["words.said"] == ["hello  world", "hello  world"]
    assert Path(outputs["words.together"]).read_text() == "one\ntwo\nthree\n"
    wdl.assert_no_container_is_left()


def test_miniwdl_gets_the_tasks_own_exit_status(wdl: Workspace, debian_image: PushedImage) -> None:
    result = wdl.miniwdl(wdl.document("exit.wdl", debian_image), "status=4")
    failure = json.loads(result.stdout)
    assert (result.status, failure["error"], failure["cause"]["exit_status"]) == (4, "RunFailed", 4)
    assert "about to fail" in Path(failure["cause"]["stderr_file"]).read_text()
    wdl.assert_no_container_is_left()


def test_a_task_that_miniwdl_aborts_ends_with_all_its_processes(
    wdl: Workspace, busybox_image: PushedImage
) -> None:
    seconds = unmistakable_seconds()
    process = wdl.start_miniwdl(wdl.document("endless.wdl", busybox_image), f"seconds={seconds}", **BUSYBOX)
    try:
        wait_until(lambda: sleeper(seconds), "the task's program", every=0.02)
    finally:
        process.terminate()
        (result,) = finished(process)
    assert "Terminated" in result.stdout
    assert sleeper(seconds) is None
    wdl.assert_no_container_is_left()


def test_miniwdl_tells_of_an_image_that_is_not_there(wdl: Workspace, busybox_image: PushedImage) -> None:
    missing = replace(busybox_image, reference=busybox_image.reference.replace("busybox", "nothing-here"))
    result = wdl.miniwdl(wdl.document("exit.wdl", missing), "status=0")
    assert result.status != 0
    assert "DownloadFailed" in result.stdout
    assert missing.reference in result.log
