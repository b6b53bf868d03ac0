"""Pulls that run at once, are killed, interrupted or repeated."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.services import faulty_registry as faulty
from tests.services.faulty_registry import FaultyRegistry, Request
from tests.services.images import ImageBuilder
from tests.services.waiting import wait_until
from tests.unit.pulling import Puller, image_of
from udocker.config import Config
from udocker.errors import RegistryError
from udocker.model.digest import Digest
from udocker.model.manifest import Descriptor
from udocker.model.reference import ImageReference
from udocker.run.images import pull, resolve
from udocker.store.store import Store

LARGE = os.urandom(3 << 20)
BLOB = "GET .*/blobs/"


class Gate:
    """Holds requests until it is opened, and counts those that wait."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.waiting = 0
        self._lock = threading.Lock()

    def hold(self, request: Request) -> None:
        with self._lock:
            self.waiting += 1
        assert self._open.wait(60), request.line

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(registry: FaultyRegistry) -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


def layers_of(builder: ImageBuilder) -> list[str]:
    return [digest for digest, blob in builder.blobs.items() if "tar" in blob.media_type]


def start(registry: FaultyRegistry, udocker: Puller, **settings: str) -> subprocess.Popen[str]:
    """A pull in a process of its own."""
    command = [sys.executable, "-m", "udocker.cli.main", "pull", f"{registry.host}/team/app:1"]
    environ = {"HOME": str(udocker.directory), "UDOCKER_DIR": str(udocker.store), "PATH": os.environ["PATH"]}
    return subprocess.Popen(
        command,
        env={**environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def ended(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    return err


def partial_sizes(udocker: Puller) -> list[int]:
    return [path.stat().st_size for path in udocker.partials.glob("*")]


@pytest.mark.parametrize("at_once", [1, 3])
def test_as_many_layers_come_at_once_as_is_set(
    registry: FaultyRegistry, udocker: Puller, gate: Gate, at_once: int
) -> None:
    builder = image_of(registry, *(bytes([number]) * 10 for number in range(5)))
    for digest in layers_of(builder):
        registry.hold(f"{BLOB}{digest}", gate.hold)
    process = start(registry, udocker, UDOCKER_REGISTRY_PARALLEL=str(at_once))
    wait_until(lambda: gate.waiting >= at_once, "the first layers are asked for")
    assert gate.waiting == at_once
    gate.open()
    ended(process)
    assert udocker.leftovers_of_pull() == []


def test_one_line_for_each_layer_and_none_when_quiet(registry: FaultyRegistry, udocker: Puller) -> None:
    builder = image_of(registry, b"a", b"b", b"c")
    image = f"{registry.host}/team/app:1"
    lines = udocker.good(image).splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == sorted(d[7:19] for d in layers_of(builder))
    assert all("already here" in line for line in udocker.good(image).splitlines())
    assert udocker.good("--quiet", image) == ""


def test_a_layer_that_an_image_has_twice_comes_once(registry: FaultyRegistry, udocker: Puller) -> None:
    builder = image_of(registry, b"a")
    (digest,) = layers_of(builder)
    layer = builder.blobs[digest]
    registry.add(builder, "team/app", "1", builder.image([layer, layer, layer]))
    assert len(udocker.good(f"{registry.host}/team/app:1").splitlines()) == 1
    assert len(registry.asked(f"{BLOB}{digest}")) == 1


def test_two_pulls_at_once_fetch_each_layer_once(
    registry: FaultyRegistry, udocker: Puller, gate: Gate
) -> None:
    builder = image_of(registry, LARGE, b"small")
    for digest in layers_of(builder):
        registry.hold(f"{BLOB}{digest}", gate.hold)
    first = start(registry, udocker)
    wait_until(lambda: gate.waiting == 2, "the first pull asks for both layers")
    second = start(registry, udocker)
    wait_until(lambda: len(registry.asked("GET .*/manifests/1")) == 2, "the second pull has begun")
    gate.open()
    said = [ended(process) for process in (first, second)]
    for digest in layers_of(builder):
        assert len(registry.asked(f"{BLOB}{digest}")) == 1
    assert "pulled in" in said[0]
    assert udocker.leftovers_of_pull() == []


def test_what_a_killed_pull_had_is_continued_by_the_next(
    registry: FaultyRegistry, udocker: Puller, gate: Gate
) -> None:
    (digest,) = layers_of(image_of(registry, LARGE))
    registry.fail(f"{BLOB}{digest}", faulty.cut(2 << 20), times=1)
    registry.hold(f"{BLOB}{digest}", gate.hold, after=1)
    process = start(registry, udocker)
    wait_until(lambda: gate.waiting == 1, "the pull asks for the rest")
    process.kill()
    process.communicate()
    assert partial_sizes(udocker) == [2 << 20]
    gate.open()
    udocker.good(f"{registry.host}/team/app:1")
    assert registry.asked(f"{BLOB}{digest}")[-1].headers["range"] == f"bytes={2 << 20}-"
    assert udocker.leftovers_of_pull() == []


def test_a_waiter_takes_over_from_a_pull_that_is_killed(
    registry: FaultyRegistry, udocker: Puller, gate: Gate
) -> None:
    (digest,) = layers_of(image_of(registry, LARGE))
    registry.fail(f"{BLOB}{digest}", faulty.cut(2 << 20), times=1)
    registry.hold(f"{BLOB}{digest}", gate.hold, after=1)
    first = start(registry, udocker)
    wait_until(lambda: gate.waiting == 1, "the first pull asks for the rest")
    second = start(registry, udocker)
    wait_until(lambda: len(registry.asked("GET .*/manifests/1")) == 2, "the second pull has begun")
    first.kill()
    first.communicate()
    wait_until(lambda: gate.waiting == 2, "the second pull has taken over")
    gate.open()
    assert "pulled in" in ended(second)
    assert [request.headers.get("range") for request in registry.asked(f"{BLOB}{digest}")] == [
        None,
        f"bytes={2 << 20}-",
        f"bytes={2 << 20}-",
    ]
    assert udocker.leftovers_of_pull() == []


def test_a_failure_that_may_pass_keeps_what_is_worth_it(registry: FaultyRegistry, udocker: Puller) -> None:
    (digest,) = layers_of(image_of(registry, LARGE))
    registry.fail(f"{BLOB}{digest}", faulty.cut(2 << 20), times=1)
    image = f"{registry.host}/team/app:1"
    assert udocker("pull", image).status == 125
    assert partial_sizes(udocker) == [2 << 20]
    udocker.good(image)
    assert registry.asked(f"{BLOB}{digest}")[-1].headers["range"] == f"bytes={2 << 20}-"
    assert udocker.leftovers_of_pull() == []


def test_a_partial_file_that_is_wrong_is_not_believed(registry: FaultyRegistry, udocker: Puller) -> None:
    (digest,) = layers_of(image_of(registry, LARGE))
    registry.fail(f"{BLOB}{digest}", faulty.body(b"z" * (2 << 20)), times=1)
    image = f"{registry.host}/team/app:1"
    assert udocker("pull", image).status == 125
    assert partial_sizes(udocker) == [2 << 20]
    udocker.good(image)
    assert udocker("verify", image).status == 0


def test_one_failure_ends_the_other_layers(registry: FaultyRegistry, udocker: Puller, gate: Gate) -> None:
    """The held layers would hold the pull for a minute."""
    builder = image_of(registry, b"a", b"b", b"c")
    first, *others = layers_of(builder)
    for digest in others:
        registry.hold(f"{BLOB}{digest}", gate.hold)
    registry.hold(f"{BLOB}{first}", lambda _: wait_until(lambda: gate.waiting == 2, "the others wait"))
    registry.fail(f"{BLOB}{first}", faulty.status(404))
    process = start(registry, udocker, UDOCKER_REGISTRY_TIMEOUT="120")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 125
    assert err.count("udocker: ") == 1
    assert "has lost a part of this image" in err
    assert udocker.leftovers() == []


def test_ctrl_c_ends_a_pull(registry: FaultyRegistry, udocker: Puller, gate: Gate) -> None:
    for digest in layers_of(image_of(registry, b"a", b"b", b"c", b"d")):
        registry.hold(f"{BLOB}{digest}", gate.hold)
    process = start(registry, udocker, UDOCKER_REGISTRY_TIMEOUT="120")
    wait_until(lambda: gate.waiting == 3, "the layers are asked for")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert udocker.leftovers() == []


def test_a_partial_file_in_use_is_copied_and_never_written(registry: FaultyRegistry, tmp_path: Path) -> None:
    """As left by a holder of the lock that was suspended so long that it was taken for dead."""
    builder = image_of(registry, LARGE)
    (digest,) = layers_of(builder)
    store = Store.at(Config(udocker_dir=tmp_path / "store")).create()
    layer = Descriptor.from_json(builder.blobs[digest].descriptor(), "layer")
    beginning = builder.blobs[digest].data[: 2 << 20]
    partials = store.paths.root / "tmp" / "partial"
    partials.mkdir()
    # The mark of a process of another node.
    foreign = partials / f"{layer.digest.hex}-0123456789ab-1-1-0123456789ab"
    foreign.write_bytes(beginning)
    config = Config(udocker_dir=tmp_path / "store")
    pull(config, ImageReference.parse(f"{registry.host}/team/app:1"))
    assert registry.asked(f"{BLOB}{digest}")[0].headers["range"] == f"bytes={2 << 20}-"
    assert foreign.read_bytes() == beginning
    os.utime(foreign, (0, 0))
    store.images.remove(ImageReference.parse(f"{registry.host}/team/app:1"))
    pull(config, ImageReference.parse(f"{registry.host}/team/app:1"))
    assert list(partials.iterdir()) == []


def test_a_partial_file_whose_lock_is_held_is_not_taken_over(tmp_path: Path) -> None:
    """A killed process may have a thread that still writes: the descriptor's lock says so."""
    store = Store.at(Config(udocker_dir=tmp_path / "store")).create()
    layer = Descriptor("", Digest.of(LARGE), len(LARGE))

    def stop_short(_: Descriptor, file: BinaryIO) -> None:
        file.write(LARGE[: 1 << 20])
        file.flush()
        raise RegistryError("broken off", temporary=True)

    with pytest.raises(RegistryError):
        store.incoming.bring(layer, stop_short, lambda: None)
    (left,) = (store.paths.root / "tmp" / "partial").iterdir()
    with left.open("r+b") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(RegistryError):
            store.incoming.bring(layer, stop_short, lambda: None)
        assert left.stat().st_size == 1 << 20
    assert left.exists()


def test_old_locks_and_partial_files_do_not_pile_up(registry: FaultyRegistry, udocker: Puller) -> None:
    image_of(registry, b"a")
    image = f"{registry.host}/team/app:1"
    udocker.good(image)
    old = udocker.store / "locks" / f"blob-{'0' * 64}"
    old.mkdir()
    (old / "g1").write_text("{}")
    other = udocker.store / "locks" / "prepare-something"
    other.mkdir()
    partial = udocker.partials / f"{'0' * 64}-0123456789ab-1-1-0123456789ab"
    partial.write_bytes(b"x")
    for path in (old, other, partial):
        os.utime(path, (0, 0))
    assert udocker("rmi", image).status == 0
    udocker.good(image)
    assert udocker.leftovers_of_pull() == ["locks/prepare-something"]


def test_a_name_that_only_the_store_has_is_told_of(registry: FaultyRegistry, tmp_path: Path) -> None:
    image_of(registry, b"a")
    config = Config(udocker_dir=tmp_path / "store")
    here, only_here = (ImageReference.parse(f"{registry.host}/team/{name}:1") for name in ("app", "none"))
    pull(config, here)
    with pytest.raises(RegistryError) as refused:
        resolve(config, only_here)
    assert "in the store" not in refused.value.hint
    Store.at(config).images.tag(here, only_here)
    with pytest.raises(RegistryError, match="not found|no such") as refused:
        resolve(config, only_here)
    assert refused.value.hint.endswith("create a container of it and name the container")
