"""The trap engine's program, started in a container of its own."""

from __future__ import annotations

import shutil
import subprocess

from tests.contract.roots import make_root
from tests.unit.test_native_trap import Guest, guest, programs

__all__ = ["guest", "programs"]  # fixtures


def test_an_engine_in_a_container_starts_a_container_in_it(guest: Guest) -> None:
    inner = guest.root / "inner"
    make_root(inner)
    (inner / "bin/readlink").symlink_to("busybox")
    (inner / "etc/who").write_text("inner\n")
    (guest.root / "etc/who").write_text("outer\n")
    shutil.copy(guest.programs.engine, guest.root / "bin/udocker-trap")
    data = guest.directory / "data"
    data.mkdir()
    (data / "file").write_text("data\n")
    subprocess.run(["chmod", "-R", "a+rwX", guest.directory], check=True)
    script = (
        "cat /etc/who /outer/who /data/file; readlink /proc/self/exe; ls / /inner; cat ../../../etc/who;"
        f" cat {guest.root}/etc/who; echo x >/data/file"
    )
    result = guest(
        *("udocker-trap", "--root", "/inner", "--bind", "/etc", "/outer", "--", "sh", "-c", script),
        binds=("--bind-ro", str(data), "/inner/data", "--bind", "/proc", "/inner/proc"),
    )
    shown = result.stdout.decode().split()
    assert shown == ["inner", "outer", "data", "/bin/busybox", *shown[4:-1], "inner"]
    assert {"bin", "data", "proc"} <= set(shown[4:-1])
    assert "inner" not in shown[4:-1]
    assert result.stderr.count(b"No such file or directory") == 2
    assert b"Read-only file system" in result.stderr
    assert (data / "file").read_text() == "data\n"


def test_an_engine_in_a_container_starts_an_emulator_of_it(guest: Guest) -> None:
    foreign = guest.root / "inner/bin/foreign"
    make_root(guest.root / "inner")
    foreign.write_bytes(b"\x7fELF\2\1\1".ljust(16, b"\0") + b"\2\0\xb7\0".ljust(48, b"\0"))
    shutil.copy(guest.programs.engine, guest.root / "bin/udocker-trap")
    (guest.root / "tools").mkdir()
    shutil.copy(guest.root / "bin/busybox", guest.root / "tools/echo")
    subprocess.run(["chmod", "-R", "a+rwX", guest.root / "inner", guest.root / "tools"], check=True)
    foreign.chmod(0o755)
    of_host = str(guest.root / "tools/echo")
    for emulator, shown in (("/tools/echo", b"-0 foreign /bin/foreign\n"), (of_host, b"")):
        result = guest(
            *("udocker-trap", "--root", "/inner", "--emulator", f"183:{emulator}", "--", "foreign"),
            binds=("--bind", "/proc", "/inner/proc"),
        )
        assert (result.stdout, result.returncode) == (shown, 0 if shown else 125), result


def test_an_engine_in_a_container_lists_names_once(guest: Guest) -> None:
    make_root(guest.root / "inner")
    for name in "abc":
        (guest.root / "inner" / name).mkdir()
    shutil.copy(guest.programs.engine, guest.root / "bin/udocker-trap")
    inner = [word for name in "abc" for word in ("--bind", "/etc", f"/{name}")]
    result = guest(
        *("udocker-trap", "--root", "/inner", *inner, "--", "sh", "-c", "ls /"),
        binds=("--read-only", "--bind", "/etc", "/only-here"),
    )
    names = result.stdout.decode().split()
    assert {"a", "b", "c"} < set(names)
    assert len(names) == len(set(names))
