"""System calls that fail: what a file system or a kernel does not offer, for one process and its children."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2  # prctl(2)
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # seccomp(2)
# link and linkat, by machine (syscalls(2)); newer machines have the second one only.
_LINKS = {"x86_64": (86, 265), "aarch64": (37,)}


def deny_hard_links() -> None:
    """Let link(2) fail from now on as where there are no hard links."""
    calls = _LINKS[platform.machine()]
    program = [struct.pack("=HBBI", 0x20, 0, 0, 0)]  # load the call's number (bpf(2), classic)
    program += [struct.pack("=HBBI", 0x15, len(calls) - index, 0, call) for index, call in enumerate(calls)]
    program += [struct.pack("=HBBI", 0x06, 0, 0, value) for value in (_ALLOW, _ERRNO | errno.EPERM)]
    code = ctypes.create_string_buffer(b"".join(program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
