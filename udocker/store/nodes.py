"""Whose files are these, and does their maker still live: what can be proved of a process anywhere.

A name that ``unique_name`` made tells its process, but of its node a digest alone.  Each node that works in
a store therefore leaves one small file, ``locks/nodes/<digest>``.  A process is known to be dead where this
node says so, or where its machine has been started again since.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Optional

from udocker.store.paths import StorePaths
from udocker.system.files import write_atomically
from udocker.system.process import Node, fate_of_mark, node_mark


def record_node(paths: StorePaths) -> None:
    """Leave this node's file, once a boot; raises OSError."""
    path = paths.nodes / node_mark()
    if not path.exists():
        paths.make(paths.nodes)
        write_atomically(path, json.dumps(asdict(Node.current())).encode(), paths.file_mode)


class Nodes:
    """The nodes that a store knows, and this one."""

    def __init__(self, paths: StorePaths) -> None:
        files = sorted(paths.nodes.iterdir()) if paths.nodes.is_dir() else []
        read = {path.name: _read(path) for path in files if not path.name.startswith(".")}
        self._known = {name: node for name, node in read.items() if node is not None}
        self._all = (*self._known.values(), Node.current())

    def fate(self, mark: str) -> Optional[bool]:
        """Whether the process of a mark is dead: True and False are proved, None is not known."""
        here = fate_of_mark(mark)
        if here is not None:
            return here
        return True if self.has_ended(mark.partition("-")[0]) else None

    def has_ended(self, name: str) -> bool:
        """Whether a node, by its name here, is known to have been started again since."""
        node = self._known.get(name)
        return node is not None and any(node.has_ended(other) for other in self._all)

    def host(self, mark: str) -> str:
        """The host name of a mark's process, empty where nobody wrote it down."""
        node = self._known.get(mark.partition("-")[0])
        return node.host if node is not None else ""


def _read(path: Path) -> Optional[Node]:
    try:
        value = json.loads(path.read_bytes())
        return Node(str(value["host"]), str(value["machine"]), str(value["boot"]), int(value["booted"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # of no use as a proof, so as good as none
