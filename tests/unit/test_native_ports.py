"""Addresses with published ports: native/net, with sanitizers."""

from __future__ import annotations

import errno
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.services.needs import need_command
from udocker.engine.ports import encode
from udocker.model.port import PublishedPort

NATIVE = Path(__file__).resolve().parents[2] / "udocker" / "native"
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP


@pytest.fixture(scope="module")
def checker() -> Iterator[Path]:
    """The program ports_check."""
    compiler = need_command("gcc", "gcc")
    with tempfile.TemporaryDirectory(prefix="udocker-ports-") as directory:
        program = Path(directory) / "ports_check"
        flags = ("-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", *SANITIZE)
        sources = [NATIVE / "tests/ports_check.c", *(NATIVE / "net").glob("*.c")]
        subprocess.run([compiler, *flags, "-o", program, *sources], check=True)
        yield program


def check(checker: Path, text: str, *queries: tuple[int, str, bytes]) -> list[tuple[int, bytes]]:
    """How the list was taken, as (result, count), then what became of each address."""
    words = [word for number, use, address in queries for word in (str(number), use, address.hex())]
    done = subprocess.run([checker, text, *words], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    result, count = first.split()
    return [(int(result), count.encode()), *(_line(line) for line in lines)]


def _line(line: str) -> tuple[int, bytes]:
    result, _, digits = line.partition(" ")
    return int(result), bytes.fromhex(digits)


def address(host: str, port: int) -> bytes:
    """A socket's address as the kernel has it."""
    if ":" in host:
        number = socket.inet_pton(socket.AF_INET6, host)
        return struct.pack("=HHI", socket.AF_INET6, socket.htons(port), 0) + number + bytes(4)
    return (
        struct.pack("=HH", socket.AF_INET, socket.htons(port))
        + socket.inet_pton(socket.AF_INET, host)
        + bytes(8)
    )


LIST = encode(
    [
        PublishedPort.parse(text)
        for text in ("8080-8082:80-82", "127.0.0.1:9000:90", "[::1]:9100:91", "53:54/udp")
    ]
)


@pytest.mark.parametrize(
    ("protocol", "use", "before", "result", "after"),
    [
        (TCP, "bind", ("0.0.0.0", 80), 1, ("0.0.0.0", 8080)),
        (TCP, "bind", ("::", 82), 1, ("::", 8082)),
        (TCP, "bind", ("127.0.0.1", 81), 1, ("127.0.0.1", 8081)),
        (TCP, "bind", ("0.0.0.0", 83), 0, ("0.0.0.0", 83)),
        (TCP, "bind", ("0.0.0.0", 0), 0, ("0.0.0.0", 0)),
        (TCP, "bind", ("0.0.0.0", 90), 1, ("127.0.0.1", 9000)),
        (TCP, "bind", ("::", 90), 1, ("::ffff:127.0.0.1", 9000)),
        (TCP, "bind", ("10.0.0.1", 90), 1, ("10.0.0.1", 9000)),
        (TCP, "bind", ("0.0.0.0", 91), -errno.EADDRNOTAVAIL, ("0.0.0.0", 9100)),
        (TCP, "bind", ("0.0.0.0", 54), 0, ("0.0.0.0", 54)),
        (UDP, "bind", ("0.0.0.0", 54), 1, ("0.0.0.0", 53)),
        (TCP, "reach", ("127.0.0.1", 80), 1, ("127.0.0.1", 8080)),
        (TCP, "reach", ("::ffff:127.0.0.9", 80), 1, ("::ffff:127.0.0.9", 8080)),
        (TCP, "reach", ("10.0.0.1", 80), 0, ("10.0.0.1", 80)),
        (TCP, "reach", ("127.0.0.5", 90), 1, ("127.0.0.1", 9000)),
        (TCP, "own", ("0.0.0.0", 8080), 0, ("0.0.0.0", 80)),
        (TCP, "own", ("10.0.0.1", 8082), 0, ("10.0.0.1", 82)),
        (TCP, "own", ("127.0.0.1", 9000), 0, ("0.0.0.0", 90)),
        (TCP, "own", ("0.0.0.0", 8083), 0, ("0.0.0.0", 8083)),
        (TCP, "other", ("127.0.0.1", 8080), 0, ("127.0.0.1", 80)),
        (TCP, "other", ("10.0.0.1", 8080), 0, ("10.0.0.1", 8080)),
        (UDP, "other", ("127.0.0.1", 8080), 0, ("127.0.0.1", 8080)),
    ],
)
def test_an_address_becomes_the_other_one(
    checker: Path, protocol: int, use: str, before: tuple[str, int], result: int, after: tuple[str, int]
) -> None:
    assert check(checker, LIST, (protocol, use, address(*before)))[1] == (result, address(*after))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    host=st.sampled_from(["0.0.0.0", "127.0.0.1", "::", "::1"]),
    port=st.integers(0, 65535),
    first=st.integers(0, 65000),
    count=st.integers(0, 500),
    there=st.integers(0, 65000),
)
def test_what_is_bound_is_told_by_its_own_number(
    checker: Path, host: str, port: int, first: int, count: int, there: int
) -> None:
    text = f"6/{first}-{first + count}/{there}/"
    bound = check(checker, text, (TCP, "bind", address(host, port)))[1][1]
    assert bound == address(host, port - first + there if first <= port <= first + count else port)
    if first <= port <= first + count:
        assert check(checker, text, (TCP, "own", bound))[1] == (0, address(host, port))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(alphabet="0123456789abcdefg/-,", max_size=120)
    | st.lists(
        st.from_regex(r"[0-9]{1,6}/[0-9]{1,6}-[0-9]{1,6}/[0-9]{1,6}/(?:[0-9a-f]{31,33})?", fullmatch=True)
    ).map(",".join),
    data=st.binary(max_size=40),
)
def test_no_list_and_no_address_is_too_odd(checker: Path, text: str, data: bytes) -> None:
    uses = ("bind", "reach", "own", "other")
    (result, _), *answers = check(checker, text, *((TCP, use, data) for use in uses))
    assert result in (0, -errno.EINVAL, -errno.E2BIG)
    assert all(len(after) == len(data) for _, after in answers)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", 0),
        ("6/1-2/3/", 0),
        ("6/2-1/3/", -errno.EINVAL),
        ("6/1-2/65535/", -errno.EINVAL),
        ("256/1-2/3/", -errno.EINVAL),
        ("6/1-70000/3/", -errno.EINVAL),
        ("6/1-2/3/00", -errno.EINVAL),
        ("6/1-2/3/" + "0" * 33, -errno.EINVAL),
        (",".join(["6/1-2/3/"] * 32), 0),
        (",".join(["6/1-2/3/"] * 33), -errno.E2BIG),
        ("6/1-2/3/" * 300, -errno.E2BIG),
    ],
)
def test_a_list_is_taken_or_refused(checker: Path, text: str, result: int) -> None:
    assert check(checker, text)[0][0] == result
