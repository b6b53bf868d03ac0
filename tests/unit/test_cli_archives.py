"""What the commands say of archives that cannot be used: which file it is, and what to do."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from udocker.cli.main import main

Captured = pytest.CaptureFixture[str]


def tar_of(**contents: bytes) -> bytes:
    """A tar archive; in names __ stands for a dot."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


TREE = tar_of(file=b"x" * 50_000)
DAMAGED = {
    "cut": TREE[:20_000],
    "cut and compressed": gzip.compress(TREE)[:-20],
    "no archive": b"junk",
    "empty": b"",
}
IMAGES = {
    "nothing of an image": TREE,
    "no JSON": tar_of(manifest__json=b"{"),
    "not an array": tar_of(manifest__json=b"{}"),
    "no name": tar_of(manifest__json=b'[{"Config": 3}]'),
    "no configuration": tar_of(manifest__json=b'[{"Config": "c"}]'),
    "a bad configuration": tar_of(manifest__json=b'[{"Config": "c"}]', c=b"[]"),
    "no layers": tar_of(manifest__json=b'[{"Config": "c"}]', c=b'{"rootfs": {"diff_ids": ["sha256:1"]}}'),
    "another layer": tar_of(
        manifest__json=b'[{"Config": "c", "Layers": ["l"]}]', c=b'{"rootfs": {"diff_ids": []}}', l=b"x"
    ),
    "a bad index": tar_of(index__json=json.dumps({"schemaVersion": 2}).encode()),
    "no images": tar_of(manifest__json=b"[]"),
}


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UDOCKER_DIR", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(act: str, name: str, captured: Captured) -> str:
    """The cause in the one line that begins with the act and the file's name; there is a hint."""
    out, err = captured.readouterr()
    line, hint = err.splitlines()
    assert out == ""
    assert line.startswith(f"udocker: {act}: {name}: ")
    assert "layer file" not in line
    assert hint.startswith("  hint: ")
    assert "pull" not in hint
    return line.removeprefix(f"udocker: {act}: {name}: ")


@pytest.mark.parametrize(
    "words", ["import {} x:1", "import --tocontainer {}", "import --clone {}", "load -i {}"]
)
@pytest.mark.parametrize("data", DAMAGED.values(), ids=list(DAMAGED))
def test_a_damaged_archive_is_told_by_its_name(words: str, data: bytes, work: Path, capsys: Captured) -> None:
    (work / "file.tar").write_bytes(data)
    assert main(words.format("file.tar").split()) == 125
    assert told(words.split()[0], "file.tar", capsys)


@pytest.mark.parametrize("data", IMAGES.values(), ids=list(IMAGES))
def test_what_is_no_archive_of_images_is_told_by_its_name(data: bytes, work: Path, capsys: Captured) -> None:
    (work / "file.tar").write_bytes(data)
    assert main(["load", "-i", "file.tar"]) == 125
    assert told("load", "file.tar", capsys)


def test_a_tree_with_links_is_no_archive_of_images_but_can_be_imported(work: Path, capsys: Captured) -> None:
    with tarfile.open(work / "tree.tar", "w") as archive:
        link = tarfile.TarInfo("rmt")
        link.type, link.linkname = tarfile.SYMTYPE, "/usr/sbin/rmt"
        archive.addfile(link)
    assert main(["load", "-i", "tree.tar"]) == 125
    assert "udocker import" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["import {} x:1", "import --tocontainer {}", "load -i {}"])
@pytest.mark.parametrize(("name", "cause"), [("nosuch.tar", "no such file"), (".", "Is a directory")])
def test_an_archive_that_cannot_be_read_has_a_hint(
    words: str, name: str, cause: str, capsys: Captured
) -> None:
    assert main(words.format(name).split()) == 125
    assert told(words.split()[0], name, capsys) == cause


@pytest.mark.parametrize(
    ("name", "cause"), [("nosuch/x.tar", "No such file or directory"), (".", "Is a directory")]
)
def test_an_archive_that_cannot_be_written_has_a_hint(
    name: str, cause: str, work: Path, capsys: Captured
) -> None:
    (work / "file.tar").write_bytes(TREE)
    assert main(["import", "file.tar", "x:1"]) == 0
    capsys.readouterr()
    assert main(["save", "-o", name, "x:1"]) == 125
    assert told("save", name, capsys) == cause
