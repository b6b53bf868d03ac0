"""The examples of docs/batch-api.md, and the commands over job files, as users run them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.real.desk import Desk
from tests.services.cluster import Slurm

DOCUMENT = Path(__file__).parents[2] / "docs" / "batch-api.md"


def example(image: str, scheduler: str) -> tuple[str, str]:
    """The document's program for an image, and what it is to print."""
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    expected = "".join(
        re.sub(r"^# ?", "", block.partition("# prints\n")[2], flags=re.MULTILINE) for block in blocks
    )
    program = "\n".join(blocks).replace("debian:12", image).replace('"slurm"  #', f'"{scheduler}"  #')
    return program, expected


@pytest.mark.parametrize("scheduler", ["slurm", "local"])
def test_the_examples_print_what_the_document_says(
    desk: Desk, slurm: Slurm, busybox_there: str, scheduler: str
) -> None:
    program, expected = example(busybox_there, scheduler)
    assert expected.count("\n") > 10
    result = desk.call("python", "-c", program, timeout=200)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == expected


def test_logs_and_set_and_render_and_schema(desk: Desk, slurm: Slurm, busybox_there: str) -> None:
    text = f"image: {busybox_there}\ncommand: [sh, -c, 'echo $UDOCKER_TASK_ID $V; echo bad >&2']\n"
    (desk.directory / "job.yaml").write_text(text)
    words = ["job.yaml", "--scheduler=local", "--set=env.V=a b", "--set", "stderr=err-%a", "--set=array=4,5"]
    job = desk.batch("submit", *words).strip()
    assert desk.call("udocker-batch", "wait", "-q", job, timeout=100).returncode == 0
    assert desk.batch("logs", job) == "==> task 4 <==\n4 a b\n\n==> task 5 <==\n5 a b\n"
    assert desk.batch("logs", job, "--task=5") == "5 a b\n"
    assert desk.batch("logs", job, "--task=5", "--stderr") == "bad\n"
    assert desk.batch("logs", job, "--task=4", "--follow") == "4 a b\n"
    assert "2 tasks" in desk.bad("udocker-batch", "logs", job, "-f")
    shown = desk.batch("render", *words)
    assert shown == desk.batch("submit", *words, "--dry-run")
    assert '"a b"' in shown
    assert json.loads(desk.batch("schema"))["additionalProperties"] is False
    assert "--set cpus:1:1: cpus: 'x'" in desk.bad("udocker-batch", "render", *words, "--set=cpus=x")
    assert "unknown key" in desk.bad("udocker-batch", "render", *words, "--set=cpu=1")
    assert "no value" in desk.bad("udocker-batch", "render", *words, "--set=cpus")


def test_a_task_that_runs_is_followed_to_its_end(desk: Desk, slurm: Slurm, busybox_there: str) -> None:
    text = "echo one; sleep 1.5; echo two"
    job = desk.sbatch(busybox_there, "sh", "-c", text, options=("-oout",))
    assert desk.batch("logs", "--follow", job) == "one\ntwo\n"


def test_the_doctor_finds_what_is_wrong(desk: Desk, slurm: Slurm) -> None:
    lines = desk.batch("doctor").splitlines()
    assert {line.partition(":")[0] for line in lines} <= {"ok", "problem"}
    assert "ok: slurm: 4 nodes" in lines
    assert any(line.startswith("ok: modes: T2") for line in lines)
    bad = desk.call("udocker-batch", "doctor", env={"UDOCKER_DIR": "/tmp/store"})
    assert bad.returncode == 1
    assert "problem: store: /tmp/store: every node has that for itself" in bad.stdout
