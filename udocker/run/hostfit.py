"""Containers that an F mode of udocker 1.3 has changed to fit one host, run as they are.

F1 turns the absolute links of the root into paths of the host, ``/home/me/.../ROOT/usr`` for ``/usr``; F2
replaces the dynamic loader by one without default directories; F3 and F4 also write the host's path of the
loader into each program.  So the root is shown once more at the path that they name, and the loader that was
there before over the changed one.
"""

from __future__ import annotations

import os
from dataclasses import replace

from udocker.engine.base import ExtendedFile, Process
from udocker.model.container import Container
from udocker.model.mode import ExecutionMode
from udocker.model.mount import Mount
from udocker.run.modes import changed_files
from udocker.store.execmode import original_loader, recorded_roots

# What else of the host is reached by the links as well.
_SYSTEM = ("/dev", "/proc", "/sys")


def with_host_paths(process: Process, container: Container, mode: ExecutionMode, system: bool) -> Process:
    """The process in a container that has this mode of the F family recorded.

    Raises EngineError where the records of what was changed are incomplete.
    """
    roots = recorded_roots(container.directory)
    loader = original_loader(container.directory)
    if not roots or (loader is None and mode is not ExecutionMode.F1):
        raise changed_files("run", container, mode)
    files: tuple[ExtendedFile, ...] = ()
    if loader is not None:
        path, original = loader
        # At both: as the container calls it, and as its programs do.
        files = tuple(ExtendedFile(f"{top}{path}", "", str(original)) for top in ("", *roots))
    # First, since the way to what is mounted next may be a link that names the host's path.
    first = [Mount(os.path.realpath(container.root), root) for root in roots]
    more = [Mount(path, f"{root}{path}") for root in roots for path in _SYSTEM if system]
    return replace(process, mounts=(*first, *process.mounts, *more), files=(*files, *process.files))
