"""``udocker-batch stage``: the copies of containers on this node, and the files that they are made of."""

from __future__ import annotations

import argparse
import os
import pwd
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from udocker import api

from ..arguments import seconds

if TYPE_CHECKING:
    from ..nodestore import NodeStore

_DESCRIPTION = """Tell of, or remove, the copies of containers that jobs with --stage=node keep on this node.

Only what nobody uses is removed, and it is made again when it is needed: this is safe at any moment. An
epilog, as root: udocker-batch stage clean --user "$SLURM_JOB_UID". With --shared the files in UDOCKER_DIR go
of which copies are made."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``stage``."""
    parser.description = _DESCRIPTION
    parser.add_argument("what", choices=("list", "clean"))
    parser.add_argument(
        "--user", default="", metavar="USER", help="whose copies, by name or number (root only)"
    )
    parser.add_argument("--shared", action="store_true", help="of the files in the shared store, too")
    parser.add_argument(
        "--unused",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help="remove only what nobody has used for so long (0: whatever is not in use)",
    )


def run(config: api.Config, options: argparse.Namespace) -> int:
    """List or clean; returns the exit status."""
    from ..nodestore import NodeStore, node_place  # not for other commands

    environ: Mapping[str, str] = os.environ
    if options.user:
        environ = become(options.user)
        config = api.Config.from_environment(environ)
    node = NodeStore(config, node_place(config, environ))
    if options.what == "list":
        _list(config, node, options.shared)
    else:
        _clean(config, node, options)
    return 0


def _list(config: api.Config, node: NodeStore, shared: bool) -> None:
    for copy in node.copies() if node.exists() else ():
        used = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(copy.used))
        print(f"{copy.container} {copy.size:>14} {used} {node.directory}")
    for path in _archives(config) if shared else ():
        print(f"{path.name.partition('.')[0]} {path.stat().st_size:>14} {'shared':<19} {path.parent}")


def _clean(config: api.Config, node: NodeStore, options: argparse.Namespace) -> None:
    if node.exists():
        node.create()  # what earlier boots have left goes here
        for copy in node.sweep(options.unused):
            print(f"{copy.container} removed")
    for path in _archives(config) if options.shared else ():
        path.unlink(missing_ok=True)
        print(f"{path} removed")


def _archives(config: api.Config) -> list[Path]:
    from ..files import store_error
    from ..staging import staged_archive

    directory = staged_archive(config, "").parent
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise store_error("stage", error, directory) from error


def become(user: str) -> Mapping[str, str]:
    """Be that user from now on, as whom nothing of others can be removed; its environment after login."""
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        raise api.UsageError(f"stage: --user {user!r}: no such user") from None
    if entry.pw_uid != os.geteuid():
        try:
            os.initgroups(entry.pw_name, entry.pw_gid)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
        except PermissionError:
            raise api.UsageError(f"stage: --user {user!r}: only root can act for others") from None
    kept = {name: value for name, value in os.environ.items() if name.startswith("UDOCKER_")}
    return {**kept, "HOME": entry.pw_dir}
