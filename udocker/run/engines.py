"""Engines that are installed beside those of the package, from a tar archive whose checksum is known.

They appear as a whole, by the rename of one link; what the archive holds beyond the programs that the
package knows by name is refused.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from udocker.config import Config
from udocker.engine.binaries import PACKAGE, SUMS, installed_directory, sums
from udocker.errors import RegistryError, StoreCorrupt, UnpackError, from_os_error
from udocker.store.compression import open_stream
from udocker.store.limits import Budget, Limits
from udocker.store.members import clean_name, spool
from udocker.store.store import Store
from udocker.store.tarstream import DIRECTORY, FILE, TarReader
from udocker.system.files import remove_tree, unique_name

_COPY = 1 << 20
_MAX_ARCHIVE = 256 << 20
_LIMITS = Limits(files=100, size=512 << 20)
# Where programs may lie in an archive; the second is udocker 1.3's place.
_PLACES = ("", "bin", "udocker_dir/bin")


def install_engines(config: Config, source: str, sha256: str) -> list[str]:
    """Install the programs of an archive, a file or a URL; returns their names.

    Nothing is changed where this fails.  Raises StoreError, UnpackError, RegistryError, and StoreCorrupt
    where the archive's SHA-256 is another one.
    """
    store = Store.at(config).create()
    work = store.paths.tmp / unique_name("install-")
    try:
        work.mkdir()
        archive = work / "archive"
        with _opened(config, source) as blocks:
            _fetch(blocks, archive, source, sha256)
        programs = work / f"engines-{sha256[:16]}"
        programs.mkdir(mode=0o755)
        names = _extract(archive, programs)
        _publish(programs, Path(installed_directory(config.udocker_dir)))
    except OSError as error:
        raise from_os_error("install", error, str(error.filename or source)) from error
    finally:
        remove_tree(work)
    return names


def purge_engines(config: Config) -> None:
    """Remove what ``install_engines`` installed; raises StoreError."""
    link = Path(installed_directory(config.udocker_dir))
    try:
        link.unlink(missing_ok=True)
        for path in link.parent.glob("engines-*"):
            remove_tree(path)
    except OSError as error:
        raise from_os_error("install", error, str(link)) from error


@contextmanager
def _opened(config: Config, source: str) -> Iterator[Iterable[bytes]]:
    if "://" not in source:
        with open(source, "rb") as file:
            yield iter(lambda: file.read(_COPY), b"")
        return
    import requests

    proxies = {"http": config.http_proxy, "https": config.http_proxy} if config.http_proxy else None
    try:
        with requests.get(source, stream=True, timeout=config.registry_timeout, proxies=proxies) as response:
            response.raise_for_status()
            yield response.iter_content(_COPY)
    except (requests.RequestException, ValueError) as error:
        raise RegistryError(f"install: {source}: {error}", "give a file, or another URL") from error


def _fetch(blocks: Iterable[bytes], target: Path, source: str, sha256: str) -> None:
    hasher, size = hashlib.sha256(), 0
    with target.open("xb") as file:
        for block in blocks:
            size += len(block)
            if size > _MAX_ARCHIVE:
                raise UnpackError(f"install: {source}: larger than {_MAX_ARCHIVE >> 20} MiB")
            hasher.update(block)
            file.write(block)
    if hasher.hexdigest() != sha256:
        raise StoreCorrupt(
            f"install: {source}: its SHA-256 is {hasher.hexdigest()}, not {sha256}", "nothing was changed"
        )


def _extract(archive: Path, target: Path) -> list[str]:
    """The programs of the archive, with their sums beside them; their names."""
    known, lines = sums(PACKAGE), {}
    hint = f"its programs are {', '.join(known)}"
    with archive.open("rb") as stream, open_stream(stream, _LIMITS) as plain:
        reader = TarReader(plain, Budget(_LIMITS, "install"))
        for member in reader:
            place, _, name = clean_name(os.fsdecode(member.name)).rpartition("/")
            if member.kind == DIRECTORY:
                continue
            if name not in known or place not in _PLACES or member.kind != FILE or member.pieces is not None:
                raise UnpackError(f"install: {name[:200]!r}: not a program of udocker", hint)
            if name in lines:
                raise UnpackError(f"install: {name!r}: twice in the archive")
            lines[name] = spool(reader, name, target / name, member.size).digest.hex
            (target / name).chmod(0o755)
    if not lines:
        raise UnpackError("install: no program of udocker in the archive", hint)
    (target / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in lines.items()), "ascii")
    return sorted(lines)


def _publish(programs: Path, link: Path) -> None:
    target = link.parent / programs.name
    link.parent.mkdir(exist_ok=True)
    if os.path.lexists(target):  # the same archive was installed before: out of sight first
        os.rename(target, programs.with_name("old"))
    os.rename(programs, target)
    temporary = programs.with_name("link")
    os.symlink(target.name, temporary)
    os.rename(temporary, link)
