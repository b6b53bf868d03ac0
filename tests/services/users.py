"""The unprivileged users that the tests act as."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import pytest

from tests.services.needs import is_root
from tests.services.sharing import shared

Argument = Union[str, "os.PathLike[str]"]

SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class User:
    """A user of the machine; ``run`` and ``popen`` start programs as it would, right after login."""

    name: str
    uid: int
    gid: int
    home: Path

    def environment(self, changes: Optional[Mapping[str, Optional[str]]] = None) -> dict[str, str]:
        """The environment after login with ``changes``; None as a value removes the variable."""
        login = {
            "PATH": SEARCH_PATH,
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "LANG": "C.UTF-8",
        }
        return {name: value for name, value in {**login, **(changes or {})}.items() if value is not None}

    def popen(
        self,
        argv: Sequence[Argument],
        *,
        env: Optional[Mapping[str, Optional[str]]] = None,
        cwd: Optional[Argument] = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start ``argv`` in a session of its own, in the home directory if not told otherwise."""
        identity: dict[str, Any] = {}
        if is_root():
            groups = os.getgrouplist(self.name, self.gid)
            identity = {"user": self.uid, "group": self.gid, "extra_groups": groups}
        return subprocess.Popen(
            argv,
            env=self.environment(env),
            cwd=cwd or self.home,
            start_new_session=True,
            umask=0o022,
            encoding="utf-8",
            errors="surrogateescape",
            **identity,
            **options,
        )

    def run(
        self,
        argv: Sequence[Argument],
        *,
        env: Optional[Mapping[str, Optional[str]]] = None,
        cwd: Optional[Argument] = None,
        input: Optional[str] = None,  # as in subprocess.run
        timeout: float = 120,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``argv`` to its end, output captured as text; after ``timeout`` its whole session is killed."""
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        with self.popen(argv, env=env, cwd=cwd, stdin=stdin, **streams) as process:
            try:
                stdout, stderr = process.communicate(input, timeout=timeout)
            except BaseException:
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        result = subprocess.CompletedProcess(list(argv), process.returncode, stdout, stderr)
        if check and result.returncode != 0:
            raise AssertionError(f"{result.args} as {self.name}: {result.returncode}\n{stdout}\n{stderr}")
        return result


@contextmanager
def machine_user(name: str) -> Iterator[User]:
    """The test user ``name`` with an empty home (root only)."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        pytest.skip(f"needs the user {name}: run tests/services/install")
    user = User(name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))

    def empty() -> None:
        _empty(user.home)

    with shared(f"home-{name}", empty, empty):
        yield user


def _empty(home: Path) -> None:
    for path in home.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def oneself(home: Path) -> User:
    """Who runs the tests, with another home: the real one is left alone."""
    entry = pwd.getpwuid(os.geteuid())
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, home)
