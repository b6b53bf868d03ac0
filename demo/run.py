"""The demo: an array job in a container, from an image that nobody has seen yet to a table of usage.

Makes a small image, serves it from a registry on this machine, and then calls the installed commands as
a user would.  No root, no docker; no batch system either, unless one is chosen:

    python demo/run.py
    python demo/run.py --scheduler slurm --directory /shared/file/system/demo
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Optional

import yaml
from image import TAG, make_image
from registry import LayoutRegistry

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
REPOSITORY = "demo/pi"
TARGET = "/results"
_RESULT = re.compile(r"task \d+: pi is about (\d\.\d+) after \d+ points\n")


class DemoFailed(Exception):
    """A step did not do what the demo shows."""


class Demo:
    """One run of the demo in ``directory``, which the nodes must see under the same path."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self.options = options
        self.directory = directory
        self.output = directory / "output"
        self.results = directory / "results"
        self.layout = directory / "image"
        self.environment = {**os.environ, "UDOCKER_DIR": str(directory / "udocker")}

    def run(self) -> None:
        """Every step; raises DemoFailed."""
        self._clear()
        _say(f"an image, made from demo/pi.c: {self.layout}")
        make_image(self.layout)
        log = self.directory / "registry.log"
        with LayoutRegistry(self.layout, REPOSITORY, log, self._address()) as registry:
            _say(f"a registry at {registry.host}; it writes its requests to {log}")
            self._trust(registry.host)
            self._show_job(self._write_job(registry.host))
            self._run_job()
        self._check_results()

    def _run_job(self) -> None:
        job = self._command("submit", str(self.directory / "job.yaml"), "--scheduler", self.options.scheduler)
        print(job)
        if not job or len(job.split()) != 1:
            raise DemoFailed(f"submit: printed {job!r}, not a job's id")
        self._command("status", job, show=True)
        self._command("wait", job, show=True)
        for task in (0, self.options.tasks - 1):
            self._show_output(task)
        self._command("usage", job, show=True)

    def _clear(self) -> None:
        """Take away an earlier run's output, by which this one will be judged."""
        for folder in (self.output, self.results):
            folder.mkdir(parents=True, exist_ok=True)
            for file in folder.glob("*.txt"):
                file.unlink()

    def _address(self) -> str:
        return "127.0.0.1" if self.options.scheduler == "local" else primary_address()

    def _trust(self, host: str) -> None:
        """The registry has no TLS: loopback is taken as it is, another address must be allowed."""
        if self.options.scheduler != "local":
            self._export("UDOCKER_INSECURE_REGISTRIES", host)
            self._export(
                "NO_PROXY", ",".join(filter(None, [os.environ.get("NO_PROXY"), host.partition(":")[0]]))
            )
        self._export("UDOCKER_DIR", self.environment["UDOCKER_DIR"])

    def _export(self, name: str, value: str) -> None:
        self.environment[name] = value
        print(f"$ export {name}={shlex.quote(value)}")

    def _write_job(self, host: str) -> Path:
        job = {
            "name": "pi",
            "image": f"{host}/{REPOSITORY}:{TAG}",
            "command": ["pi", TARGET],
            "array": f"0-{self.options.tasks - 1}",
            "env": {"PI_SAMPLES": str(self.options.samples)},
            "mounts": [f"{self.results}:{TARGET}"],
            "directory": str(self.directory),
            "stdout": "output/pi-%a.txt",
        }
        path = self.directory / "job.yaml"
        path.write_text(yaml.safe_dump(job, sort_keys=False), encoding="utf-8")
        return path

    def _show_job(self, path: Path) -> None:
        print(f"$ cat {shlex.quote(str(path))}")
        print(path.read_text(encoding="utf-8"), end="", flush=True)

    def _show_output(self, task: int) -> None:
        path = self.output / f"pi-{task}.txt"
        print(f"\n$ cat {shlex.quote(str(path))}")
        try:
            print(path.read_text(encoding="utf-8"), end="", flush=True)
        except OSError as error:
            raise DemoFailed(f"output of task {task}: {error}") from error

    def _command(self, *arguments: str, show: bool = False) -> str:
        """Run ``udocker-batch`` and fail with it; returns what it prints unless that is shown."""
        print("\n$ " + shlex.join(["udocker-batch", *arguments]), flush=True)
        command = [str(BIN / "udocker-batch"), *arguments]
        stdout = None if show else subprocess.PIPE
        try:
            done = subprocess.run(
                command,
                env=self.environment,
                stdout=stdout,
                text=True,
                check=False,
                timeout=self.options.timeout,
            )
        except OSError as error:
            raise DemoFailed(f"{command[0]}: {error.strerror}: install this project first") from error
        except subprocess.TimeoutExpired as error:
            raise DemoFailed(f"{arguments[0]}: not done after {self.options.timeout:.0f} s") from error
        if done.returncode != 0:
            raise DemoFailed(f"{arguments[0]}: exit status {done.returncode}")
        return (done.stdout or "").strip()

    def _check_results(self) -> None:
        """Every task must have left its result."""
        values = [self._result(task) for task in range(self.options.tasks)]
        mean = sum(values) / len(values)
        if abs(mean - 3.14159265) > 0.01:
            raise DemoFailed(f"pi came out as {mean}")
        _say(f"{len(values)} tasks, all done: pi is about {mean:.6f}")

    def _result(self, task: int) -> float:
        path = self.results / f"{task}.txt"
        match = _RESULT.fullmatch(path.read_text(encoding="utf-8")) if path.is_file() else None
        if match is None:
            raise DemoFailed(f"task {task}: no result in {path}")
        return float(match[1])


def primary_address() -> str:
    """This host's address towards other hosts: that of its default route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # No packet is sent; the address is one of those kept for documentation (RFC 5737).
            probe.connect(("192.0.2.1", 9))
        except OSError:
            # No default route: a cluster of its own, whose name service knows its hosts.
            return socket.gethostbyname(socket.gethostname())
        return str(probe.getsockname()[0])


def main(arguments: Optional[list[str]] = None) -> int:
    """Run the demo; returns the exit status."""
    options = _parser().parse_args(arguments)
    default = ROOT / ".demo" if options.scheduler == "local" else Path.home() / "udocker-demo"
    directory = (options.directory or default).absolute()
    try:
        Demo(options, directory).run()
    except DemoFailed as error:
        print(f"demo: failed: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run an array job in a container, from image to usage.")
    parser.add_argument("--scheduler", default="local", help="local (default) or slurm")
    parser.add_argument(
        "--directory",
        type=Path,
        help="where everything goes: .demo, or ~/udocker-demo with a batch system, whose nodes must share it",
    )
    parser.add_argument("--tasks", type=_positive, default=20, help="tasks of the array (default 20)")
    parser.add_argument("--samples", type=_positive, default=200_000_000, help="points a task")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds that a step may take")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not above 0")
    return number


def _say(text: str) -> None:
    print(f"\n# {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
