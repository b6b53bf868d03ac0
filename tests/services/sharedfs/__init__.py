"""A shared file system as a cluster's nodes see it: one directory, and on each node a mount of its own.

::

    with nodes(user, place) as cluster:
        cluster[0].run(user, ["sh", "-c", "touch $SHARED/x"], {"SHARED": str(cluster[0].shared)}, check=True)
        cluster[1].disk.set(Fault(errno.ESTALE, count=1))     # the next operation of node2
        cluster[2].disk.lose()                                # whatever node3 asks fails with ENOTCONN

The mounts are those of ``tests.services.faultfs``: each keeps names and attributes for itself, absent
names too, and its flock(2) and fcntl(2) locks are seen by no other mount; what is done is counted by kind.  A
node is a set of namespaces with a host name, processes and a /tmp of its own, in which the mount is at
the same path as on every other node.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from tests.services.faultfs import FaultDisk, mounted
from tests.services.needs import need_command, need_root
from tests.services.users import Argument, User
from tests.services.waiting import wait_until

CACHE = 60.0  # seconds; the longest that NFS keeps attributes unless it is told otherwise (nfs(5), acregmax)


@dataclass(frozen=True)
class Node:
    """A node: ``shared`` is where it sees the shared directory, ``local`` its /tmp as seen from outside."""

    name: str
    disk: FaultDisk
    shared: Path
    local: Path
    init: subprocess.Popen[bytes]

    def popen(
        self,
        user: User,
        argv: Sequence[Argument],
        env: Optional[Mapping[str, Optional[str]]] = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Start ``argv`` on the node as ``user``."""
        # unshare's only child is the node's process 1, which has the node's processes.
        first = Path(f"/proc/{self.init.pid}/task/{self.init.pid}/children").read_text().split()[0]
        enter = ["nsenter", f"--target={first}", "--mount", "--uts", "--ipc", "--pid", "--"]
        become = ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--init-groups"]
        return subprocess.Popen(
            [*enter, *become, *argv], env=user.environment(env), cwd="/", text=True, umask=0o022, **options
        )

    def run(
        self,
        user: User,
        argv: Sequence[Argument],
        env: Optional[Mapping[str, Optional[str]]] = None,
        timeout: float = 120,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``argv`` on the node to its end, output captured as text."""
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with self.popen(user, argv, env, **streams) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except BaseException:
                process.kill()
                raise
        assert not check or process.returncode == 0, (argv, process.returncode, out, err)
        return subprocess.CompletedProcess(list(argv), process.returncode, out, err)

    def crash(self) -> None:
        """Let the node go down with all its processes, as when power fails."""
        self.init.send_signal(signal.SIGKILL)
        self.init.wait()


@contextmanager
def nodes(
    user: User, place: Path, count: int = 4, cache: float = CACHE, delay: float = 0
) -> Iterator[list[Node]]:
    """So many nodes over the directory ``place``/backing, which is made; each operation takes ``delay``."""
    need_root()
    need_command("unshare", "util-linux")
    need_command("nsenter", "util-linux")
    backing, shared = place / "backing", place / "shared"
    for path in (backing, shared):
        path.mkdir()
    subprocess.run(["chown", f"{user.uid}:{user.gid}", backing], check=True)
    with ExitStack() as stack:
        cluster = []
        for number in range(1, count + 1):
            name = f"node{number}"
            view, local = place / name / "mount", place / name / "tmp"
            view.mkdir(parents=True)
            local.mkdir()
            local.chmod(0o1777)
            disk = stack.enter_context(mounted(user, backing, view, cache, delay))
            init = stack.enter_context(_booted(name, view, shared, local))
            cluster.append(Node(name, disk, shared, local, init))
        yield cluster


@contextmanager
def _booted(name: str, view: Path, shared: Path, local: Path) -> Iterator[subprocess.Popen[bytes]]:
    """unshare, which ends its namespaces when it is killed."""
    up = local / ".up"
    script = [
        f"hostname {name}",
        f"mount --bind {shlex.quote(str(view))} {shlex.quote(str(shared))}",
        f"mount --bind {shlex.quote(str(local))} /tmp",
        "touch /tmp/.up",
        "while sleep 60; do :; done",
    ]
    spaces = ["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    process = subprocess.Popen(
        ["unshare", *spaces, "sh", "-ec", "\n".join(script)], stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_until(lambda: up.exists() or process.poll() is not None, f"{name} to boot", every=0.01)
        assert up.exists(), f"{name}: did not boot"
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
