"""Whatever bytes names, values, arguments, files and scripts hold: programs receive them, shells never do."""

from __future__ import annotations

import base64
import itertools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.real.desk import Desk
from tests.services.cluster import Slurm

# What shells, YAML, JSON, sbatch and our own templates might take for more than bytes.
TRICKS = [b"'", b'"', b"\\", b"$(touch pwned)", b"`touch pwned`", b"\n", b"\r", b"${IFS}", b"; touch pwned;"]
TRICKS += [
    b"{{ task }}",
    b"%j",
    b"#SBATCH --hold\n",
    b"\nEOF\n",
    b"--",
    b"*",
    b"\xff\xfe",
    b"\xe2\x80\xa8",
    b"!",
]
BYTES = st.one_of(st.binary(max_size=30), st.lists(st.sampled_from(TRICKS), max_size=4).map(b"".join)).map(
    lambda data: data.replace(b"\0", b"~")
)
# A directory's name, as a part of a mount as well: no slash, no colon.
NAMES = BYTES.map(lambda data: data.replace(b"/", b"|").replace(b":", b";"))
VARIABLES = BYTES.map(lambda data: b"V" + data.replace(b"=", b"+"))
VALUES = {
    "words": st.lists(BYTES, max_size=4),
    "variable": st.tuples(VARIABLES, BYTES),
    "name": NAMES,
}

SUBMIT = """
import base64, json, os, sys, udocker_batch
order = json.loads(sys.stdin.read())
os.chdir(order["place"])
for name in ("in" + order["name"], "job" + order["name"], "out"):
    os.mkdir(name)
with open(os.path.join("in" + order["name"], "file"), "wb") as file:
    file.write(base64.b64decode(order["content"]))
fields = order["fields"]
job = udocker_batch.JobSpec(
    image=order["image"],
    command=tuple(fields["command"]),
    env=tuple(map(tuple, fields["env"])),
    script=fields["script"],
    name="n" + order["name"],
    directory="job" + order["name"],
    mounts=("../in" + order["name"] + ":/in:ro", order["place"] + "/out:/out"),
    # Slurm would look for fields as %j in the name of the directory, too.
    stdout=order["place"] + "/out/stdout",
)
job = udocker_batch.submit(job, order["scheduler"])
print(job.id, job.result(timeout=120).exit_status)
"""
# The shell keeps from its children the variables whose names it does not like.
REPORT = r'cd /out && printf "%s\0" "$#" "$@" >words && cat /proc/$$/environ >environ && cat /in/file >file'

# Not shrunk: every example is a job.
hostile = settings(
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
numbers = itertools.count()


@dataclass(frozen=True)
class Cluster:
    """Where to run, as whom, in which image."""

    desk: Desk
    image: str
    scheduler: str

    def run(self, name: bytes, content: bytes, command: list[bytes], env: Any, script: bytes) -> Path:
        """Run a job whose directories and name hold ``name``; the directory that it wrote to."""
        place = self.desk.directory / f"{self.scheduler}-{next(numbers)}"
        self.desk.user.run(["mkdir", place], check=True)
        order = {
            "place": str(place),
            "scheduler": self.scheduler,
            "image": self.image,
            "name": os.fsdecode(name),
            "content": base64.b64encode(content).decode(),
            "fields": {
                "command": list(map(os.fsdecode, command)),
                "env": [list(map(os.fsdecode, pair)) for pair in env],
                "script": os.fsdecode(script),
            },
        }
        result = self.desk.call("python", "-c", SUBMIT, input=json.dumps(order), timeout=200)
        assert (result.returncode, result.stdout.split()[1:]) == (0, ["0"]), result
        assert not list(place.rglob("pwned"))
        return place / "out"

    def check_values(self, words: list[bytes], variable: tuple[bytes, bytes], name: bytes) -> None:
        """Arguments, a variable, directories, a file and the job's name."""
        content = b"\0".join([*words, *variable, name])
        out = self.run(name, content, [b"sh", b"-c", REPORT.encode(), b"x", *words], [variable], b"")
        received = (out / "words").read_bytes().split(b"\0")
        assert received == [str(len(words)).encode(), *words, b""]
        environment = (out / "environ").read_bytes().split(b"\0")
        assert b"=".join(variable) in environment
        assert b"UDOCKER_JOB_NAME=n" + name in environment
        assert (out / "file").read_bytes() == content

    def check_script(self, text: bytes) -> None:
        """A script whose interpreter shows it."""
        script = b"#!/bin/cat\n" + text
        assert (self.run(b"", b"", [], [], script) / "stdout").read_bytes() == script


@pytest.fixture
def here(desk: Desk, slurm: Slurm, busybox_there: str) -> Cluster:
    return Cluster(desk, busybox_there, "local")


@pytest.fixture
def there(desk: Desk, slurm: Slurm, busybox_there: str) -> Cluster:
    return Cluster(desk, busybox_there, "slurm")


@settings(hostile, max_examples=8)
@given(**VALUES)
def test_values_arrive_byte_for_byte_here(here: Cluster, words: Any, variable: Any, name: bytes) -> None:
    here.check_values(words, variable, name)


@settings(hostile, max_examples=3)
@given(**VALUES)
def test_values_arrive_byte_for_byte_on_slurm(there: Cluster, words: Any, variable: Any, name: bytes) -> None:
    there.check_values(words, variable, name)


@settings(hostile, max_examples=4)
@given(text=BYTES)
def test_scripts_arrive_byte_for_byte(here: Cluster, text: bytes) -> None:
    here.check_script(text)


@pytest.mark.parametrize("where", ["here", "there"])
def test_every_trick_arrives_byte_for_byte(request: pytest.FixtureRequest, where: str) -> None:
    cluster = request.getfixturevalue(where)
    joined = b"".join(TRICKS)
    cluster.check_values(TRICKS, (b"V" + joined, joined), joined.replace(b"/", b"|").replace(b":", b";"))
    cluster.check_script(joined)
