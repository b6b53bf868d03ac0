"""What is fuzzed: each target takes bytes and an empty directory, and raises where the product does wrong."""

from __future__ import annotations

import json
import os
import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

from tests.fuzz.choices import Choices
from tests.fuzz.tars import tar_from
from tests.services.images import Blob, ImageBuilder, Member, directory, file, hardlink, symlink, tar_of
from udocker.cli.archivefile import open_input
from udocker.cli.output import printable
from udocker.conffile import read_file
from udocker.config import Config
from udocker.errors import ConfigError, StoreCorrupt, StoreError, UdockerError, UsageError
from udocker.model.manifest import ImageConfig, ImageIndex, Platform, parse_manifest
from udocker.model.reference import ImageReference
from udocker.registry.challenge import parse_challenges
from udocker.registry.credentials import entry_of, json_object, keys_of
from udocker.registry.retry import retry_after
from udocker.registry.words import server_words
from udocker.run import archives
from udocker.store.unpack import unpack_layers
from udocker.system.files import remove_tree

SECRET = b"the host's own"


def unpack(data: bytes, place: Path) -> None:
    """Layers of any kind change, read and link to nothing outside their root, and fail in one way only."""
    host, root = _host(place), place / "root"
    before = _seen(host)
    root.mkdir()
    choices = Choices(data)
    targets = (f"{host}/file", "../host/file", "/../../host", "a/../../host/file", str(host))
    layers = []
    for number in range(1 + choices.number(3)):
        layers.append(place / f"layer{number}")
        layers[-1].write_bytes(tar_from(choices, targets))
    with _allowed(StoreError):
        unpack_layers(layers, root)
    assert _seen(host) == before, "the host was changed"
    assert {path.name for path in place.iterdir()} == {"host", "root", *(layer.name for layer in layers)}
    _check_root(root)


def _host(place: Path) -> Path:
    host = place / "host"
    host.mkdir()
    (host / "file").write_bytes(SECRET)
    (host / "directory").mkdir()
    return host


def _seen(host: Path) -> dict[str, Any]:
    found = {}
    for path in (host, *host.rglob("*")):
        info = path.lstat()
        what = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (what, info.st_mode, info.st_nlink, info.st_mtime_ns, info.st_uid)
    return found


def _check_root(root: Path) -> None:
    """Its owner can use everything, and nothing in it lends rights or has the host's content."""
    for place, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = os.path.join(place, name)
            mode = os.lstat(path).st_mode
            assert stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode) or stat.S_ISFIFO(mode), path
            if not stat.S_ISLNK(mode):
                assert not mode & (stat.S_ISUID | stat.S_ISGID), path
                assert mode & stat.S_IRUSR and mode & stat.S_IWUSR, path
            if stat.S_ISREG(mode) and os.path.getsize(path) < 1000:
                assert SECRET not in Path(path).read_bytes(), path


def load(data: bytes, place: Path) -> None:
    """An archive of docker's or OCI's format is loaded whole, or refused and leaves nothing."""
    choices = Choices(data)
    members = _edited(choices, [*_ARCHIVES.values()][choices.number(len(_ARCHIVES))])
    source = place / "archive.tar"
    source.write_bytes(tar_of(members) if choices.often() or not choices else tar_from(choices))
    config = Config(udocker_dir=place / "store")
    try:
        found = archives.load(config, open_input("load", str(source)))
    except UdockerError as error:
        _check_error(error)
        store = place / "store"
        files = [path for name in ("layers", "repos", "tmp") for path in (store / name).rglob("*")]
        assert not files, files
        return
    assert found
    assert not list((place / "store" / "tmp").iterdir())


def clone(data: bytes, place: Path) -> None:
    """An archive of a container becomes one, which leads nowhere, or is refused and leaves nothing."""
    host = _host(place)
    before = _seen(host)
    choices = Choices(data)
    names = (
        "ROOT",
        "ROOT/a",
        "container.json",
        "imagerepo.name",
        "ROOT/../container.json",
        f"{host}/file",
        "..",
    )
    source = place / "clone.tar"
    members = _edited(choices, _CLONE)
    source.write_bytes(tar_of(members) if choices.often() or not choices else tar_from(choices, names))
    config = Config(udocker_dir=place / "store")
    try:
        container = archives.import_clone(config, open_input("import", str(source)), in_place=source)
    except UdockerError as error:
        _check_error(error)
        assert not list((place / "store" / "containers").iterdir())
    else:
        assert not os.path.islink(container.root)
        for path in Path(container.directory).iterdir():
            assert path.name == "ROOT" or (path.is_file() and not path.is_symlink()), path
        _check_root(container.root)
    assert not list((place / "store" / "tmp").iterdir())
    assert _seen(host) == before, "the host was changed"


def _edited(choices: Choices, members: list[Member]) -> list[Member]:
    """A good archive with some changes."""
    found = list(members)
    for _ in range(choices.number(5)):
        at = choices.number(len(found))
        item = found[at]
        act = choices.number(6)
        if act == 0:
            found.append(file(choices.pick(found).info.name, choices.bytes(20)))
        elif act == 1:
            found[at] = symlink(item.info.name, choices.pick(found).info.name)
        elif act == 2:
            found[at] = hardlink(item.info.name, choices.pick(found).info.name)
        elif act == 3 and len(found) > 1:
            del found[at]
        else:
            found[at] = file(item.info.name, _edited_text(choices, item.data))
    return found


_JSON = (
    "null",
    "[]",
    "{}",
    "0",
    "-1",
    "true",
    '""',
    '"x"',
    "1e999",
    '"a\\u0000b"',
    "[[[]]]",
    "NaN",
    '"\\ud800"',
)


def _edited_text(choices: Choices, text: bytes) -> bytes:
    """A document with a value replaced, or some bytes."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        at = choices.number(len(text) + 1)
        return text[:at] + choices.bytes(4) + text[at + choices.number(8) :]
    for _ in range(1 + choices.number(3)):
        document = _replaced(choices, document)
    return json.dumps(document).encode()


def _replaced(choices: Choices, value: Any) -> Any:
    if isinstance(value, dict) and value and not choices.often(4):
        key = choices.pick(sorted(value))
        return {**value, key: _replaced(choices, value[key])}
    if isinstance(value, list) and value and not choices.often(4):
        at = choices.number(len(value))
        return [*value[:at], _replaced(choices, value[at]), *value[at + 1 :]]
    if choices.often():
        return json.loads(choices.pick(_JSON))
    return choices.bytes(8).decode("utf-8", "replace")


def reference(data: bytes, place: Path) -> None:
    """An image's name is understood so that it reads the same again and is no path out, or is refused."""
    text = os.fsdecode(data)
    with _allowed(UsageError):
        found = ImageReference.parse(text)
        assert ImageReference.parse(str(found)) == found
        for part in (*found.name.split("/"), found.selector):
            assert part not in ("", ".", "..") and "\0" not in part and "\n" not in part, found
        assert "/" not in found.selector


def manifest(data: bytes, place: Path) -> None:
    """A manifest, index or configuration is read, or refused as damaged."""
    choices = Choices(data)
    text = choices.pick((*_DOCUMENTS, b""))
    raw = _edited_text(choices, text) if text else data[1:]
    with _allowed(StoreCorrupt):
        document = parse_manifest(raw, choices.pick(("", "application/json", "text/html; x")))
        if isinstance(document, ImageIndex):
            document.choose(Platform.host())
            document.platforms()
    with _allowed(StoreCorrupt):
        str(ImageConfig.parse(raw).platform)
    with _allowed(UsageError):
        Platform.parse(os.fsdecode(data[:40]))


def settings(data: bytes, place: Path) -> None:
    """A udocker.conf, a keystore or docker's config.json is read, or refused with its name."""
    path = place / "file"
    path.write_bytes(data)
    with _allowed(ConfigError):
        read_file(path)
    with _allowed(ConfigError):
        Config.from_environment({"HOME": str(place), "UDOCKER_DIR": str(place / "x")}, path)
    with _allowed(ConfigError):
        entries = json_object(path, "")
        for registry in ("docker.io", "a:1"):
            keys_of(entries, registry)
            entry_of(entries, registry, "x")
            if isinstance(entries.get("auths"), dict):
                entry_of(entries["auths"], registry, "x")


def headers(data: bytes, place: Path) -> None:
    """What a registry says in headers and errors is read without a failure, and printed without effects."""
    text = data.decode("latin-1")
    for challenge in parse_challenges(text):
        assert challenge.scheme == challenge.scheme.lower()
    pause = retry_after(text, 1e9)
    assert pause is None or pause >= 0
    codes, words = server_words(data)
    assert all(map(str.isprintable, (printable(words), *map(printable, codes))))


@contextmanager
def _allowed(kind: type[UdockerError]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        _check_error(error)


def _check_error(error: UdockerError) -> None:
    assert error.message and "\n" not in printable(error.message)
    assert len(error.message) < 20_000, "a message that nobody reads"


def _archives() -> dict[str, list[Member]]:
    builder = ImageBuilder()
    layers = [builder.layer([directory("d"), file("d/f", b"x")], kind) for kind in ("plain", "gzip", "zstd")]
    image = builder.image([layers[0], layers[1], layers[0], layers[2]])
    config = json.loads(image.data)["config"]["digest"]
    plain = [layer for layer in layers[:1]]
    small = builder.image(plain, docker=True)
    small_config = builder.blobs[json.loads(small.data)["config"]["digest"]]
    docker = [
        file("l/layer.tar", layers[0].data),
        file(f"{small_config.digest[7:]}.json", small_config.data),
        file("manifest.json", _json([{
            "Config": f"{small_config.digest[7:]}.json", "RepoTags": ["a/b:1"], "Layers": ["l/layer.tar"]
        }])),
    ]  # fmt: skip
    assert config in builder.blobs
    return {
        "docker": docker,
        "oci": _layout(builder, image),
        "index": _layout(builder, builder.index([image])),
    }


def _layout(builder: ImageBuilder, image: Blob) -> list[Member]:
    entry = {**image.descriptor(), "annotations": {"org.opencontainers.image.ref.name": "a/b:1"}}
    return [
        file("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
        *(file(f"blobs/sha256/{part.digest[7:]}", part.data) for part in builder.parts(image)),
        file("index.json", _json({"schemaVersion": 2, "manifests": [entry]})),
    ]


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


_ARCHIVES = _archives()
_CLONE = [
    directory("ROOT"),
    file("ROOT/a", b"x"),
    hardlink("ROOT/b", "ROOT/a"),
    file("container.json", b'{"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/a"]}}'),
    file("imagerepo.name", b"a/b:1"),
    file("PROTECT"),
]
_DOCUMENTS = tuple(
    item.data for members in _ARCHIVES.values() for item in members if item.data.startswith((b"{", b"["))
)


def _noise(count: int, length: int) -> tuple[bytes, ...]:
    """Bytes without a pattern, the same ones each time."""
    chance = random.Random(count * length)
    return tuple(chance.randbytes(length) for _ in range(count))


TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    target.__name__: target for target in (unpack, load, clone, reference, manifest, settings, headers)
}

# Where each target begins; from there on coverage leads.
SEEDS: dict[str, tuple[bytes, ...]] = {
    "unpack": _noise(40, 600),
    "load": (b"", *_noise(40, 100)),
    "clone": (b"", *_noise(40, 100)),
    "reference": (
        b"a", b"a/b:1", b"127.0.0.1:5000/a/b:c", b"[::1]:5/a", b"a@sha256:" + b"0" * 64,
        b"localhost/a:b@sha512:" + b"1" * 128,
    ),
    "manifest": tuple(bytes([number, 0, 1, 2, number]) for number in range(12))
    + tuple(b"\xff" + text for text in _DOCUMENTS),
    "settings": (
        b"[DEFAULT]\ntopdir = /x\nregistry_retries = 3\n", b"[DEFAULT]\ntopdir = %(home)s\n",
        b'{"https://docker.io": {"auth": "YTpi", "email": ""}}', b'{"auths": {"a:1": {"auth": "YTpi"}}}',
    ),
    "headers": (
        b'Bearer realm="https://a/token",service="b",scope="repository:a:pull"', b'Basic realm="x"', b"120",
        b"Wed, 21 Oct 2015 07:28:00 GMT", b'{"errors": [{"code": "DENIED", "message": "no", "detail": {}}]}',
    ),
}  # fmt: skip


def attempt(name: str, data: bytes, place: Path) -> None:
    """One input for one target, in a directory that is empty before and after."""
    scratch = place / "input"
    scratch.mkdir()
    try:
        TARGETS[name](data, scratch)
    finally:
        remove_tree(scratch)
