"""The contract on the kernels of Debian's releases: engines T and P find there what elsewhere is forced."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels.machine import CHECKOUT, boot, kernel_of, machine
from tests.services.needs import need_root

KERNELS = {"bullseye": "5.10", "bookworm": "6.1", "trixie": "6.12"}
MODES = ("T1", "T2", "P1", "P2")
SECONDS = 3 * 3600


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    need_root()
    chosen = " or ".join(f"[{mode}]" for mode in MODES)
    with machine(tmp_path_factory.mktemp("machine"), ["-k", chosen]) as made:
        yield made


@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize("suite", KERNELS)
def test_the_contract_holds_on_the_kernel_of(suite: str, archive: Path) -> None:
    reports = CHECKOUT / ".kernels"
    reports.mkdir(exist_ok=True)
    said = boot(kernel_of(suite), archive, reports / f"{suite}.txt", SECONDS)
    assert f"kernel: {KERNELS[suite]}." in said, said[-4000:]
    assert re.search(r"^\d+ passed, \d+ deselected in ", said, re.MULTILINE), said[-4000:]
    assert "status of the suite: 0" in said, said[-4000:]
