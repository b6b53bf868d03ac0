"""What of this host runs programs of other machines: qemu's user emulation, as distributions install it."""

from __future__ import annotations

import os
import struct

from udocker.values import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from typing import Optional

# Go's names of architectures, the numbers that elf(5) gives these machines (e_machine), and qemu's names.
_MACHINES = {
    "arm64": (183, "aarch64"),
    "arm": (40, "arm"),
    "riscv64": (243, "riscv64"),
    "ppc64le": (21, "ppc64le"),
    "s390x": (22, "s390x"),
    "loong64": (258, "loongarch64"),
    "mips64le": (8, "mips64el"),
}
_DIRECTORIES = ("/usr/bin", "/usr/local/bin", "/bin")
_BINFMT = "/proc/sys/fs/binfmt_misc"
_INTERPRETED = 3  # PT_INTERP of elf(5)


@dataclass(frozen=True)
class Emulator:
    """A static program that runs those of a machine, which elf(5) numbers."""

    machine: int
    path: str


def program_for(architecture: str) -> str:
    """What such a program is called; empty where there is none for the architecture."""
    return f"qemu-{_MACHINES[architecture][1]}-static" if architecture in _MACHINES else ""


def find_emulator(architecture: str, path: str) -> Optional[Emulator]:
    """The one that is installed in a search path or where distributions put it; None where none is."""
    machine, name = _MACHINES.get(architecture, (0, ""))
    directories = [directory for directory in path.split(":") if directory.startswith("/")]
    for directory in (*_DIRECTORIES, *directories) if name else ():
        for program in (f"qemu-{name}-static", f"qemu-{name}"):
            file = os.path.join(directory, program)
            if os.access(file, os.X_OK) and _is_static(file):
                return Emulator(machine, os.path.realpath(file))
    return None


def is_registered(architecture: str) -> bool:
    """Whether the kernel starts the emulator by itself in any root (binfmt_misc with the flag F)."""
    name = _MACHINES.get(architecture, (0, ""))[1]
    try:
        with open(f"{_BINFMT}/qemu-{name}", encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
    return "enabled" in lines and "F" in flags


def _is_static(path: str) -> bool:
    """Whether a program needs no loader, which a container would not have at its place."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01":
        return False
    (start,), (size, count) = struct.unpack_from("<Q", head, 32), struct.unpack_from("<HH", head, 54)
    places = range(start, start + size * count, max(1, size))
    return all(
        place + 4 <= len(head) and struct.unpack_from("<I", head, place)[0] != _INTERPRETED
        for place in places
    )
