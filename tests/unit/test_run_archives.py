"""Containers exported, archives of files imported, and what happens to the files on both sides."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.services.images import Member, directory, file, hardlink, symlink, tar_of
from tests.unit.archives import Sample, export, files_of, import_container, import_image, load, save, written
from udocker.cli.archivefile import open_input
from udocker.config import Config
from udocker.errors import NotFoundError, StoreError, UsageError
from udocker.model.container import Container
from udocker.model.reference import ImageReference
from udocker.run import archives
from udocker.run.images import create
from udocker.store.store import Store


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(udocker_dir=tmp_path / "store")


def test_an_export_is_imported_as_a_container_and_as_an_image(tmp_path: Path, config: Config) -> None:
    tree = [
        directory("d"),
        file("d/f", b"data", 0o755),
        hardlink("d/g", "d/f"),
        symlink("l", "/etc/passwd"),
    ]
    source = tmp_path / "tree.tar"
    source.write_bytes(tar_of(tree))
    container = import_container(config, str(source), name="box")
    assert container.image == "IMPORTED:unknown"
    Path(container.root, "secret").write_bytes(b"s")
    Path(container.root, "secret").chmod(0)
    Path(container.root, os.fsdecode(b"\xff name")).write_bytes(b"odd")
    export(config, "box", str(tmp_path / "out.tar"))
    export(config, "box", str(tmp_path / "out.tar"))  # a file that is there is replaced
    assert Path(container.root, "secret").stat().st_mode & 0o777 == 0
    import_image(config, str(tmp_path / "out.tar"), ImageReference.parse("copy:1"))
    copy = create(config, ImageReference.parse("copy:1"), "second")
    assert Path(copy.root, "d/f").read_bytes() == b"data"
    assert Path(copy.root, "d/f").stat().st_ino == Path(copy.root, "d/g").stat().st_ino
    assert os.readlink(Path(copy.root, "l")) == "/etc/passwd"
    assert Path(copy.root, os.fsdecode(b"\xff name")).read_bytes() == b"odd"
    assert Path(copy.root, "secret").read_bytes() == b"s"
    assert (tmp_path / "out.tar").exists()


def test_a_moved_archive_is_gone_and_one_that_is_broken_stays(tmp_path: Path, config: Config) -> None:
    source = tmp_path / "tree.tar"
    source.write_bytes(b"no archive" * 1000)
    with pytest.raises(StoreError, match="not a whole tar"):
        import_image(config, str(source), ImageReference.parse("x:1"), move=True)
    assert source.exists()
    assert files_of(config) == []
    source.write_bytes(tar_of([file("x", b"1")]))
    inode = source.stat().st_ino
    import_image(config, str(source), ImageReference.parse("x:1"), move=True)
    assert not source.exists()
    (layer,) = Store.at(config).images.layer_files(Store.at(config).images.load(ImageReference.parse("x:1")))
    assert layer.stat().st_ino == inode


def test_an_output_that_fails_is_left_out_and_one_that_is_there_stays(tmp_path: Path, config: Config) -> None:
    load(config, written(tmp_path / "a.tar", Sample().members()))
    (tmp_path / "out.tar").write_text("mine")
    with pytest.raises(UsageError, match="there already"):
        save(config, [ImageReference.parse("team/app:1")], str(tmp_path / "out.tar"))
    assert (tmp_path / "out.tar").read_text() == "mine"
    with pytest.raises(NotFoundError):
        save(config, [ImageReference.parse("nosuch")], str(tmp_path / "new.tar"))
    for layer in (config.udocker_dir / "layers").iterdir():
        if layer.stat().st_size > 5000:
            layer.write_bytes(layer.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreError, match="not those of the image"):
        save(config, [ImageReference.parse("team/app:1")], str(tmp_path / "new.tar"))
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "out.tar", "store"]
    save_to_nothing = Sample().members()
    load(Config(udocker_dir=tmp_path / "other"), written(tmp_path / "b.tar", save_to_nothing))
    save(Config(udocker_dir=tmp_path / "other"), [ImageReference.parse("team/app:1")], "/dev/null")


def clone_archive(path: Path, *changes: Member, without: str = "") -> Path:
    """What udocker writes of a container, with further members or without one."""
    good = [
        directory("."),
        directory("./ROOT"),
        file("./ROOT/f", b"data"),
        file("./container.json", b'{"config": {"Cmd": ["/f"]}, "architecture": "amd64", "os": "linux"}'),
        file("./imagerepo.name", b"some/image:1"),
        file("./execmode", b"P1"),
        file("./PROTECT"),
    ]
    path.write_bytes(tar_of([*(item for item in good if item.info.name != f"./{without}"), *changes]))
    return path


def import_clone(config: Config, source: Path, name: str = "") -> Container:
    return archives.import_clone(config, open_input("import", str(source)), name, source)


def test_a_clone_keeps_metadata_and_settings_but_no_protection(tmp_path: Path, config: Config) -> None:
    container = import_clone(config, clone_archive(tmp_path / "c.tar"), "copy")
    assert (container.image, container.names, container.config.cmd) == ("some/image:1", ("copy",), ("/f",))
    assert sorted(os.listdir(container.directory)) == ["ROOT", "container.json", "execmode", "imagerepo.name"]
    assert Path(container.root, "f").read_bytes() == b"data"
    with pytest.raises(StoreError, match="already taken"):
        import_clone(config, tmp_path / "c.tar", "copy")
    assert os.listdir(config.udocker_dir / "tmp") == []


HOSTILE_CLONES = {
    "root is a link": ([symlink("ROOT", "/etc")], "'ROOT': neither ROOT nor a file"),
    "metadata is a link": ([symlink("container.json", "/etc/passwd")], "'container.json': neither"),
    "metadata is the container's to change": (
        [hardlink("container.json", "ROOT/f")],
        "'container.json': neither",
    ),
    "a setting is a directory": ([directory("execmode")], "'execmode': neither"),
    "metadata is no JSON": ([file("container.json", b"{")], "container.json: image configuration: not JSON"),
    "the image has no name": ([file("imagerepo.name", b"../../x")], "imagerepo.name"),
    "leads out": ([file("../x", b"x")], "leads out"),
}


@pytest.mark.parametrize("case", HOSTILE_CLONES)
def test_a_hostile_clone_is_refused_and_leaves_nothing(tmp_path: Path, config: Config, case: str) -> None:
    members, words = HOSTILE_CLONES[case]
    with pytest.raises(StoreError) as caught:
        import_clone(config, clone_archive(tmp_path / "c.tar", *members), "copy")
    assert words in caught.value.message
    assert files_of(config) == []


@pytest.mark.parametrize("missing", ["container.json", "imagerepo.name"])
def test_a_clone_without_its_metadata_is_refused(tmp_path: Path, config: Config, missing: str) -> None:
    with pytest.raises(StoreError, match=f"import: {missing}: missing") as caught:
        import_clone(config, clone_archive(tmp_path / "c.tar", without=missing))
    assert "udocker export --clone" in caught.value.hint
    assert files_of(config) == []
