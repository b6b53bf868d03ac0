"""A container's ports under other numbers of the host: the program sees its own, and others the host's."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.conftest import VARIANTS, staged
from tests.contract.roots import Stage
from tests.services.needs import need_command
from udocker.engine import select
from udocker.errors import UsageError
from udocker.model.port import PublishedPort

FLAGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static")


def _maps(name: str) -> bool:
    return select.engine_of(VARIANTS[name].mode).abilities.ports


@pytest.fixture(params=filter(_maps, VARIANTS))
def stage_of_ports(request: pytest.FixtureRequest, launchers: Path) -> Iterator[Stage]:
    """A container under each mode that maps ports, with the program ports.c."""
    with staged(VARIANTS[request.param], launchers) as made:
        compiler = need_command("gcc", "gcc libc6-dev")
        program = made.root / "bin/ports"
        subprocess.run([compiler, *FLAGS, "-o", program, Path(__file__).with_name("ports.c")], check=True)
        yield made


def free(kind: int = socket.SOCK_STREAM) -> int:
    """A port that nobody has."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def ports(*texts: str) -> dict[str, tuple[PublishedPort, ...]]:
    return {"ports": tuple(map(PublishedPort.parse, texts))}


def test_a_program_binds_and_reaches_its_own_number(stage_of_ports: Stage) -> None:
    host = free()
    mapped = ports(f"{host}:81", f"{host}:81/udp")
    lines = stage_of_ports.output("sh", "-c", "exec ports 81", **mapped).splitlines()
    assert lines == [
        "bound 0.0.0.0 81",
        "peer 127.0.0.1 81",
        "accepted 127.0.0.1 81",
        "bound :: 81",
        "peer ::1 81",
        "accepted ::1 81",
        "bound 127.0.0.1 81",
        "answered 127.0.0.1 81",
        "answered 127.0.0.1 81",
    ]


@pytest.mark.parametrize(("address", "others"), [("", True), ("127.0.0.1", False)])
def test_the_host_reaches_a_program_under_the_other_number(
    stage_of_ports: Stage, address: str, others: bool
) -> None:
    host = free()
    text = f"{address}:{host}:9999" if address else f"{host}:9999"
    launch = stage_of_ports.plan("ports", "9999", "wait", **ports(text))
    with stage_of_ports.start(launch, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"bound 0.0.0.0 9999\n"
        try:
            socket.create_connection(("127.0.0.2", host), 30).close()
            reached = True
        except ConnectionRefusedError:
            reached = False
        assert reached is others
        if not reached:
            socket.create_connection(("127.0.0.1", host), 30).close()
        assert process.wait(30) == 0


def test_ranges_and_other_ports_keep_their_places(stage_of_ports: Stage) -> None:
    host, other = free(), free()
    mapped = ports(f"{host}:700", f"{host + 1}-{host + 3}:701-703")
    launch = stage_of_ports.plan("ports", "702", "wait", **mapped)
    with stage_of_ports.start(launch, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"bound 0.0.0.0 702\n"
        socket.create_connection(("127.0.0.1", host + 2), 30).close()
        assert process.wait(30) == 0
    assert f"bound 0.0.0.0 {other}" in stage_of_ports.output("ports", str(other), **mapped)


def test_an_address_of_another_kind_is_not_bound_elsewhere(stage_of_ports: Stage) -> None:
    result = stage_of_ports.run("ports", "81", "wait", **ports(f"[::1]:{free()}:81"))
    assert result.out == b"bind: Address not available\n" or b"Cannot assign requested address" in result.out


def test_too_many_ports_and_what_is_no_address_are_refused(stage_of_ports: Stage) -> None:
    with pytest.raises(UsageError, match="32 are possible"):
        stage_of_ports.plan("true", **ports(*(f"{1000 + 2 * n}:{5000 + n}" for n in range(33))))
    with pytest.raises(UsageError, match="not an address"):
        stage_of_ports.plan("true", **ports("somewhere:80:81"))
    assert stage_of_ports.output("echo", "x", **ports(*(f"{n + 1}:{5000 + n}" for n in range(32)))) == "x\n"
