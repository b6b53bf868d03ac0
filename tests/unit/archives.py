"""Archives for unit tests, and what a store holds after them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.services.images import Blob, ImageBuilder, Member, directory, file, tar_of
from udocker.cli.archivefile import open_input, open_output
from udocker.config import Config
from udocker.model.container import Container
from udocker.model.reference import ImageReference
from udocker.run import archives


def docker_archive(
    builder: ImageBuilder, image: Blob, tags: list[str], plain: dict[str, bytes], **changes: Any
) -> list[Member]:
    """The members of an archive as docker writes it; ``plain`` has the layers' tars by diff_id."""
    config = builder.blobs[json.loads(image.data)["config"]["digest"]]
    wanted = json.loads(config.data)["rootfs"]["diff_ids"]
    entry = {
        "Config": f"{config.digest[7:]}.json",
        "RepoTags": tags,
        "Layers": [f"{diff_id[7:]}.tar" for diff_id in wanted],
        **changes,
    }
    return [
        *(file(f"{diff_id[7:]}.tar", plain[diff_id]) for diff_id in dict.fromkeys(wanted)),
        file(f"{config.digest[7:]}.json", config.data),
        file("manifest.json", json.dumps([entry]).encode()),
    ]


class Sample:
    """An image of two layers, one of them twice."""

    def __init__(self) -> None:
        self.builder = ImageBuilder()
        trees = [[directory("etc"), file("etc/a", b"a" * 5000)], [file("b", b"b")]]
        self.layers = [self.builder.layer(tree, "plain") for tree in trees]
        self.plain = {layer.diff_id: layer.data for layer in self.layers}
        order = [self.layers[0], self.layers[1], self.layers[0]]
        self.image = self.builder.image(order, docker=True, cmd=["/b"])
        self.config_digest = json.loads(self.image.data)["config"]["digest"]

    def members(self, tags: Any = ("team/app:1",), **changes: Any) -> list[Member]:
        return docker_archive(self.builder, self.image, list(tags), self.plain, **changes)


def written(path: Path, members: list[Member], compress: Callable[[bytes], bytes] = bytes) -> str:
    path.write_bytes(compress(tar_of(members)))
    return str(path)


def files_of(config: Config) -> list[str]:
    """Every file below the store that a user or udocker 1.3 could take for an image or a blob."""
    files = (path for path in config.udocker_dir.rglob("*") if not path.is_dir())
    return sorted(str(path) for path in files if config.udocker_dir / "locks" not in path.parents)


def names(references: list[ImageReference]) -> list[str]:
    return [str(reference) for reference in references]


def load(config: Config, source: str, name: str = "") -> list[ImageReference]:
    return archives.load(config, open_input("load", source), name)


def save(config: Config, references: list[ImageReference], output: str) -> None:
    archives.save(config, references, open_output("save", output, replace=False))


def export(config: Config, name: str, output: str) -> None:
    archives.export(config, name, open_output("export", output, replace=True))


def import_image(config: Config, source: str, reference: ImageReference, move: bool = False) -> None:
    opened = open_input("import", source)
    archives.import_image(config, opened, reference, move=Path(source) if move else None)


def import_container(config: Config, source: str, name: str = "") -> Container:
    return archives.import_container(config, open_input("import", source), name=name, in_place=Path(source))
