"""Many processes at once over the same names: no crash, no wrong content, nothing left behind."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.real.commands import Commands
from tests.services.base_images import PushedImage
from udocker.config import Config
from udocker.model.reference import ImageReference
from udocker.store.store import Store
from udocker.store.verify import verify_image

PROCESSES = 16

# What each process does; a line of JSON tells how each command ended.
PROGRAM = """
import json, os, subprocess, sys
udocker, image, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
commands = [["-q", "pull", image], ["create", "--name=same", image],
            ["run", "same", "sh", "-c", "echo hi; exit 7"], ["rm", "same"]]
for _ in range(rounds):
    for command in commands:
        result = subprocess.run([udocker, *command], capture_output=True, text=True)
        act = command[1] if command[0] == "-q" else command[0]
        print(json.dumps([act, result.returncode, result.stdout, result.stderr]), flush=True)
"""


def start(udocker: Commands, image: str, program: Path) -> subprocess.Popen[str]:
    argv = ["/usr/bin/python3", program, udocker.programs / "udocker", image, "1"]
    return udocker.user.popen(argv, env={"UDOCKER_DIR": str(udocker.store)}, stdout=subprocess.PIPE)


def test_many_pull_create_run_and_remove_the_same_names(
    udocker: Commands, busybox_image: PushedImage, share: Path
) -> None:
    image, program = busybox_image.reference, share / "many.py"
    program.write_text(PROGRAM)
    processes = [start(udocker, image, program) for _ in range(PROCESSES)]
    repairs = []
    while any(process.poll() is None for process in processes):
        repairs.append(udocker("repair"))  # beside them all the time
    results = [json.loads(line) for process in processes for line in process.communicate()[0].splitlines()]
    assert len(results) == PROCESSES * 4
    for act, status, output, message in results:
        assert_clear(act, status, output, message)
    assert sum(status == 0 for act, status, *_ in results if act == "create") >= 1
    assert {status for act, status, *_ in results if act == "pull"} == {0}
    assert {(result.returncode, result.stdout, result.stderr) for result in repairs} == {(0, "", "")}
    assert_whole(udocker, image)


# What a command may say that comes too late, or too early.
ALLOWED = {
    "create": ("already taken",),
    "run": ("not here", "No such file", "not found"),
    "rm": ("not here", "running for"),
}


def assert_clear(act: str, status: int, output: str, message: str) -> None:
    told = f"{act}: {status}: {output}{message}"
    if status == (7 if act == "run" else 0):
        assert act != "run" or output == "hi\n", told
        return
    assert status in ((125, 126, 127) if act == "run" else (125,)), told
    failures = [line for line in message.splitlines() if line.startswith("udocker: ")]
    assert len(failures) == 1, told
    assert any(words in failures[0] for words in ALLOWED[act]), told


def assert_whole(udocker: Commands, image: str) -> None:
    """The image is whole, what containers are left have the name, and nothing else is there."""
    store = Store.at(Config(udocker_dir=udocker.store))
    assert list(verify_image(store, ImageReference.parse(image))) == []
    assert len(store.containers.ids()) <= 1
    assert all(store.containers.names(container) == ("same",) for container in store.containers.ids())
    udocker("rm", "-f", "same", check=True)
    assert list(store.paths.containers.iterdir()) == []
    udocker.good("rmi", image)
    for directory in (store.paths.layers, store.paths.repos, store.paths.claims):
        assert list(directory.iterdir()) == []
    assert [path for path in store.paths.tmp.rglob("*") if path != store.paths.partial] == []
    assert sorted(path.name for path in store.paths.locks.iterdir()) == ["claims", "nodes"]
