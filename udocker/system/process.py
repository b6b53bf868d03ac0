"""Which process is this, and does it still live: answers that hold across nodes of a cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping

from udocker.values import TYPE_CHECKING, dataclass, replace

if TYPE_CHECKING:
    from typing import Any, Optional


@dataclass(frozen=True)
class ProcessIdentity:
    """One process, told apart from every other one on any node at any time.

    ``boot`` is the kernel's random boot id, ``namespace`` the pid namespace's inode and ``start`` the
    process's start in clock ticks since boot (proc(5), /proc/[pid]/stat, field 22), so that a pid
    that was used again is not mistaken for its former owner.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    start: int

    @classmethod
    def current(cls) -> ProcessIdentity:
        """The calling process."""
        pid = os.getpid()
        return cls(os.uname().nodename, *_node(), pid, start_time(pid) or 0)

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """Another process of this node; raises ProcessLookupError."""
        start = start_time(pid)
        if not start:
            raise ProcessLookupError(f"no process {pid}")
        return cls(os.uname().nodename, *_node(), pid, start)

    @classmethod
    def from_json(cls, value: Any) -> ProcessIdentity:
        """Read ``to_json``'s form; raises ValueError."""
        try:
            text = [str(value[name]) for name in ("host", "boot", "namespace")]
            return cls(text[0], text[1], text[2], int(value["pid"]), int(value["start"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a process identity: {error}") from None

    def to_json(self) -> Mapping[str, Any]:
        """A JSON object's content."""
        return {name: getattr(self, name) for name in ("host", "boot", "namespace", "pid", "start")}

    def mark(self) -> str:
        """The process in a few characters for a file name; ``is_mark_of_dead`` reads them."""
        return f"{_digest(self)}-{self.pid}-{self.start}"

    def is_dead(self) -> Optional[bool]:
        """True or False where this can be known from here, None for a process of another node."""
        if (self.host, self.boot, self.namespace) != (os.uname().nodename, *_node()):
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # somebody else's process, and it lives
        start = start_time(self.pid)
        # /proc may hide other users' processes (proc(5), hidepid): then the kill above decides.
        return start is not None and start != self.start


@dataclass(frozen=True)
class Node:
    """A machine between two boots, as far as its processes see; ``booted`` is in seconds since 1970.

    ``machine`` is machine-id(5), empty where there is none.
    """

    host: str
    machine: str
    boot: str
    booted: int

    @classmethod
    def current(cls) -> Node:
        """The machine of the calling process."""
        return cls(os.uname().nodename, _machine_id(), _node()[0], _boot_time())

    def has_ended(self, later: Node) -> bool:
        """Whether ``later`` proves that this boot is over: the same machine, started again since.

        Nodes without a disk of their own share a machine id, and others are all called localhost: only
        both together are a machine.
        """
        named = self.machine and self.host and not self.host.startswith("localhost")
        same = (self.host, self.machine) == (later.host, later.machine)
        return bool(named and same and self.boot != later.boot and self.booted < later.booted)


def node_mark() -> str:
    """The node's part of the marks of its processes."""
    return _digest(ProcessIdentity.current())


def _machine_id() -> str:
    try:
        return _text("/etc/machine-id").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _boot_time() -> int:
    """When the kernel started, by its own clock (proc(5), /proc/stat, btime)."""
    for line in _text("/proc/stat").splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    return 0


def is_mark_of_dead(mark: str) -> bool:
    """Whether a mark is of a process of this node that is known to be dead; False for anything else."""
    return fate_of_mark(mark) is True


def fate_of_mark(mark: str) -> Optional[bool]:
    """Whether the process of a mark is dead; None where that cannot be known, as for other nodes."""
    parts = mark.split("-")
    here = ProcessIdentity.current()
    if len(parts) != 3 or parts[0] != _digest(here) or not all(map(str.isdecimal, parts[1:])):
        return None
    return replace(here, pid=int(parts[1]), start=int(parts[2])).is_dead()


def _digest(process: ProcessIdentity) -> str:
    import hashlib  # a container that is there starts without OpenSSL

    node = "\0".join((process.host, process.boot, process.namespace))
    return hashlib.sha256(os.fsencode(node)).hexdigest()[:12]


def _node() -> tuple[str, str]:
    boot = _text("/proc/sys/kernel/random/boot_id").strip()
    return boot, os.readlink("/proc/self/ns/pid")


def start_time(pid: int) -> Optional[int]:
    """The start of a process, 0 for one that has ended and waits to be reaped; None if it cannot be read."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return None
    # The command's name is in parentheses and may hold anything, so count from the last one.
    fields = stat[stat.rindex(b")") + 2 :].split()
    # Z and X are of a process that has ended (proc(5)); its parent may reap it late, or never.
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()
