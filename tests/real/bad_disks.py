"""Commands over a disk that fails, and what a store must be like afterwards."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from tests.real.commands import Commands
from tests.services.faultfs import EVERY, SPACE, Fault, FaultDisk
from udocker.config import Config
from udocker.model.reference import ImageReference
from udocker.store.store import Store
from udocker.store.verify import verify_container, verify_image

# What a disk says, once or from some moment on.
FAULTS = {
    "full": Fault(errno.ENOSPC, SPACE),
    "over quota": Fault(errno.EDQUOT, SPACE),
    "broken": Fault(errno.EIO, EVERY),
    "hiccup": Fault(errno.EIO, EVERY, count=1),
    "stale": Fault(errno.ESTALE, EVERY, count=1),
}
# The kernel asks again after ESTALE, and may then find what was made the first time (open(2), O_EXCL).
_ALSO = {errno.ESTALE: (errno.EEXIST,)}
_OPEN_REGISTRY = "it asks for no password"  # a warning, as the registry of these tests takes everybody


@dataclass(frozen=True)
class Act:
    """A command, with DISK, SOURCE, REGISTRY and HOST to be filled in.

    ``again`` tells what a second run says after one whose failure came when all was done.
    """

    line: str
    input: Optional[str] = None
    again: str = "already"
    # Where a disk lets a command neither finish nor go back: a whole container without a name stays.
    leaves_nameless: bool = False


ACTS = {
    "pull": Act("pull REGISTRY"),
    "create": Act("create --name=new team/app:1", leaves_nameless=True),
    "load": Act("load -i SOURCE/app.tar new/app"),
    "import": Act("import SOURCE/tree.tar new/tree:1"),
    "import a container": Act(
        "import --tocontainer --name=new SOURCE/tree.tar new/tree:1", leaves_nameless=True
    ),
    "save": Act("save -o DISK/out.tar team/app:1", again="there already"),
    "export": Act("export -o DISK/out.tar box"),
    "rm": Act("rm box", again="not here", leaves_nameless=True),
    "rmi": Act("rmi team/app:1", again="not here"),
    "clone": Act("clone --name=new box", leaves_nameless=True),
    "tag": Act("tag team/app:1 new/app:2"),
    "login": Act("login --username=me --password-stdin --registry=HOST", input="secret"),
}


@dataclass(frozen=True)
class State:
    """What users see of a store and of the files beside it; ``damage`` is what is not whole."""

    images: frozenset[str]
    containers: tuple[str, ...]
    files: frozenset[str]
    damage: tuple[str, ...] = ()


def state_of(store_directory: Path) -> State:
    """The state of the store ``store`` in a directory, read around the disk's faults."""
    store = Store.at(Config(udocker_dir=store_directory / "store"))
    damage: list[str] = []
    images = set()
    for name, tag, _ in store.images.entries():
        reference = ImageReference.parse(f"{name}:{tag}")
        damage += [problem.what for problem in verify_image(store, reference)]
        images.add(f"{name}:{tag}")
    containers = []
    for container_id in store.containers.ids():
        directory = Path(store.containers.directory(container_id))
        damage += [problem.what for problem in verify_container(directory)]
        names = ",".join(store.containers.names(container_id))
        containers.append(f"{names} {_tree(directory / 'ROOT')}")
    files = {
        f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in store_directory.iterdir()
        if path.is_file() and not path.name.startswith(".")
    }
    return State(frozenset(images), tuple(sorted(containers)), frozenset(files), tuple(damage))


def _tree(root: Path) -> str:
    """A digest of names, kinds, permissions, links and content."""
    hasher = hashlib.sha256()
    for place, directories, files in os.walk(root):
        directories.sort()
        for name in sorted([*directories, *files]):
            path = Path(place, name)
            status = path.lstat()
            hasher.update(f"{path.relative_to(root)} {status.st_mode} {status.st_nlink}\n".encode())
            if path.is_symlink():
                hasher.update(os.fsencode(os.readlink(path)))
            elif path.is_file():
                hasher.update(path.read_bytes())
    return hasher.hexdigest()[:16]


def leftovers(directory: Path) -> list[str]:
    """Files that nobody sees and nobody needs: half-made ones, blobs of no image, names of nothing."""
    store = directory / "store"
    found = [path for path in (store / "tmp").rglob("*")] if (store / "tmp").is_dir() else []
    wanted = {path.name for path in (store / "repos").rglob("*") if path.is_symlink()}
    found += [path for path in (store / "layers").iterdir() if path.name not in wanted]
    found += [path for path in store.rglob(".*") if "ROOT" not in path.parts]
    found += [path for path in directory.iterdir() if path.name.startswith(".") and path.suffix != ".lock"]
    found += [path for path in (store / "containers").iterdir() if not path.exists()]
    for place, directories, files in os.walk(store / "repos"):
        if not directories and "TAG" not in files and Path(place) != store / "repos":
            found.append(Path(place))
    return sorted({str(path.relative_to(directory)) for path in found})


@dataclass(frozen=True)
class Course:
    """A command that met no fault: the states around it, and its operations."""

    before: State
    after: State
    operations: dict[str, int]

    def count(self, fault: Fault) -> int:
        """How many operations the fault would have met."""
        return sum(count for kind, count in self.operations.items() if kind in fault.kinds)


@dataclass(frozen=True)
class Bench:
    """A disk, the template that it is reset to, and what fills in the commands' places."""

    udocker: Commands
    disk: FaultDisk
    backing: Path
    template: Path
    places: dict[str, str] = field(default_factory=dict)

    def reset(self) -> None:
        """Make the disk what the template is."""
        for path in self.backing.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        subprocess.run(["cp", "-a", f"{self.template}/.", self.backing], check=True)

    def course(self, act: Act) -> Course:
        """Run a command on the disk as it should be."""
        self.reset()
        before = state_of(self.backing)
        self.disk.clear()
        result = self.run(act)
        operations = self.disk.clear().operations
        assert result.returncode == 0, result
        after = state_of(self.backing)
        assert not after.damage
        return Course(before, after, operations)

    def run(self, act: Act) -> subprocess.CompletedProcess[str]:
        line = act.line
        for place, value in self.places.items():
            line = line.replace(place, value)
        env = {"UDOCKER_KEYSTORE": str(self.disk.path / "keystore")}
        return self.udocker(*line.split(), input=act.input, env=env)


def try_fault(bench: Bench, act: Act, fault: Fault, good: Course) -> bool:
    """One run with a fault, and one without; whether the fault was met.  Raises AssertionError."""
    before, after = good.before, good.after
    bench.reset()
    bench.disk.set(fault)
    failed = bench.run(act)
    met = bench.disk.clear()
    if not met.failed:
        assert failed.returncode == 0, failed
        return False
    what = f"{act.line}; {met.first_failed} (operation {fault.first}) failed: {failed}"
    now = state_of(bench.backing)
    assert not now.damage, f"{what}\n{now.damage}"
    if failed.returncode == 0:
        assert now == after, f"{what}\n{now}"
    else:
        _check_message(failed, fault, what)
        assert _is_between(now, before, after, act), f"{what}\n{now}\nbefore {before}\nafter {after}"
    again = bench.run(act)
    if again.returncode and now.containers != before.containers and act.leaves_nameless and now != after:
        pass  # the container has lost its name, and is removed by its id
    elif again.returncode:
        assert now == after and act.again in again.stderr, f"{what}\nand then {again}"
    _remove_nameless(bench)
    final = state_of(bench.backing)
    assert final == after, f"{what}\nand then {again}\n{final}\nnot {after}"
    bench.udocker.good("repair", "--all")  # it finds blobs of images that came to nothing
    left = leftovers(bench.backing)
    assert not left, f"{what}\nand then {again}\nleft: {left}"
    return True


def _remove_nameless(bench: Bench) -> None:
    store = Store.at(Config(udocker_dir=bench.backing / "store"))
    for container_id in store.containers.ids():
        if not store.containers.names(container_id):
            bench.udocker.good("rm", container_id)


def _check_message(failed: subprocess.CompletedProcess[str], fault: Fault, what: str) -> None:
    assert failed.returncode == 125, what
    assert "Traceback" not in failed.stderr, what
    lines = [line for line in failed.stderr.splitlines() if _OPEN_REGISTRY not in line]
    failures = [line for line in lines if line.startswith("udocker: ")]
    hints = [line for line in lines if line.startswith("  hint: ")]
    assert len(failures) == 1 and len(hints) <= 1, what
    words = "|".join(os.strerror(number) for number in (fault.error, *_ALSO.get(fault.error, ())))
    assert hints or os.strerror(errno.EEXIST) in failures[0], what
    assert re.fullmatch(rf"udocker: [a-z]+( [a-z]+)?: .+: ({words})", failures[0]), what


def _is_between(now: State, before: State, after: State, act: Act) -> bool:
    """Whether the command was done or not done at all, but for a whole container without a name."""
    if now in (before, after):
        return True
    named = tuple(line for line in now.containers if not line.startswith(" "))
    nameless = len(now.containers) - len(named)
    gone = len(before.containers) - len(named)
    return (
        act.leaves_nameless
        and nameless == 1
        and replace(now, containers=()) == replace(before, containers=())
        and set(named) <= set(before.containers)
        and gone <= 1
    )
