"""Names of containers: links in the directory ``containers``, as in udocker 1.3.

A container gets its name right before it becomes visible, so that a crash never leaves one without it.  What
it may leave is a link to nothing; that is told from a container on its way by what lies in ``tmp``, and who
wants the name next takes it.
"""

from __future__ import annotations

import os
import re

from udocker.errors import NotFoundError, StoreError, UsageError, from_os_error
from udocker.store.paths import StorePaths
from udocker.store.timing import DEFAULT_TIMING, LockTiming
from udocker.system.files import unique_name
from udocker.values import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import StrPath

_ID = r"[a-z0-9]+(?:-[a-z0-9]+){4}"
# What udocker refuses in a name, and what would make one a path, an option or two lines.
_BAD_NAME = r"[/. \[\]\x00-\x1f\x7f]|^-"
MAX_NAME = 255


def check_name(name: str) -> None:
    """Raise UsageError for a container name that udocker would not take either."""
    is_bad = not name or re.search(_BAD_NAME, name) or len(os.fsencode(name)) > MAX_NAME
    if is_bad or re.fullmatch(_ID, name):
        raise UsageError(f"name: {name!r}: not a container name", "letters, digits, - and _ are fine")


def link_target(path: StrPath) -> str:
    """The id that a name links to; empty for what is no link, or no longer one."""
    try:
        target = os.path.basename(os.readlink(path))
    except OSError:
        return ""
    return "" if target in (".", "..") else target


class ContainerNames:
    """The names in one directory ``containers``."""

    def __init__(self, paths: StorePaths, timing: LockTiming = DEFAULT_TIMING) -> None:
        self._paths = paths
        self._timing = timing
        self._directory = os.path.join(paths.root, "containers")

    def names(self, container_id: str) -> tuple[str, ...]:
        """A container's names, sorted."""
        links = (entry for entry in os.scandir(self._directory) if entry.is_symlink())
        return tuple(sorted(link.name for link in links if link_target(link.path) == container_id))

    def name(self, container_id: str, name: str, replace: bool = False) -> None:
        """Give a container a name, taking it from another one where ``replace`` is set.

        Raises UsageError, and StoreError when the name is taken.
        """
        check_name(name)
        self._refuse_lower(container_id, "name")
        link = self._paths.containers / name
        try:
            if replace:
                temporary = self._paths.tmp / unique_name("name-")
                os.symlink(container_id, temporary)
                os.rename(temporary, link)
            else:
                self._link_new(container_id, link)
        except FileExistsError:
            raise StoreError(f"name: {name}: already taken", "choose another, or remove that one") from None
        except OSError as error:
            raise from_os_error("name", error, str(self._paths.containers)) from error

    def unname(self, name: str) -> None:
        """Take a name away from its container, if that is still there; raises NotFoundError, StoreError."""
        link = self._link(name, "rmname")
        try:
            link.unlink()
        except FileNotFoundError:
            raise _no_such_name(name) from None
        except OSError as error:
            raise from_os_error("rmname", error, str(link)) from error

    def is_taken(self, name: str) -> bool:
        """Whether a container has this name or id; one that a crash has left with a name alone has none."""
        link = self._paths.containers / name
        return os.path.lexists(link) and not self.is_abandoned(link)

    def is_abandoned(self, link: Path) -> bool:
        """Whether a name's container is neither there nor on its way."""
        target = link_target(link)
        if not target:
            return False
        directory = self._paths.containers / target
        # Asked in this order, and twice: it may become visible between the questions.
        return not (os.path.lexists(directory) or self._is_made(target) or os.path.lexists(directory))

    def drop_abandoned(self, link: Path) -> bool:
        """Remove a name if nothing has it any more; whether that was so.  Raises StoreError, OSError."""
        from udocker.store.lock import SharedLock  # for this rare case alone

        with SharedLock(self._paths, "names", self._timing).passing():
            if not self.is_abandoned(link):
                return False
            link.unlink(missing_ok=True)
            return True

    def forget(self, name: str) -> str:
        """Remove what a removal that was cut short has left of a container, its name; returns the id.

        Raises NotFoundError where the name is not such a one, StoreError.
        """
        link = self._paths.containers / name
        target = link_target(link) if name and "/" not in name and "\0" not in name else ""
        if not target or not self.is_abandoned(link) or not self.drop_abandoned(link):
            raise NotFoundError(f"container: {name}: not here", "see udocker ps")
        return target

    def _link_new(self, container_id: str, link: Path) -> None:
        try:
            os.symlink(container_id, link)
        except FileExistsError:
            if not (self.is_abandoned(link) and self.drop_abandoned(link)):
                raise
            os.symlink(container_id, link)

    def _is_made(self, container_id: str) -> bool:
        """Whether something in ``tmp``, or in a workspace there, is about to become this container."""
        act = re.compile(rf"[a-z]+-{re.escape(container_id)}-[0-9a-f-]+")
        tmp = self._paths.scratch
        try:
            names = os.listdir(tmp)
            for name in [name for name in names if name.startswith("prepare-")]:
                try:
                    names += os.listdir(tmp / name)
                except (FileNotFoundError, NotADirectoryError):
                    continue  # finished since
        except FileNotFoundError:
            return False
        made = [name for name in names if not name.startswith("remove-")]
        return any(act.fullmatch(name) for name in made)

    def _link(self, name: str, act: str) -> Path:
        """The link of a name; raises NotFoundError where it is none."""
        link = self._paths.containers / name
        if "/" in name or "\0" in name or len(os.fsencode(name)) > MAX_NAME or not link_target(link):
            self._refuse_lower(name, act)
            raise _no_such_name(name)
        return link

    def _refuse_lower(self, container: str, act: str) -> None:
        """Raise StoreError for what only a lower store has: this store's names are its own."""


def _no_such_name(name: str) -> NotFoundError:
    return NotFoundError(f"name: {name!r}: no container has it", "see udocker ps")
