"""Programs that people use, each at a small task: what they print is what they print under chroot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs.comparison import OK, Report, Row
from tests.programs.conftest import REPORT
from tests.programs.runners import Chroot, Engined, Outcome, workplace

TOOLS = Path(__file__).with_name("tools")
SECONDS = 300
# What the kernel does otherwise: a user whom a name space lacks is EINVAL, where fakeroot expects EPERM.
APART = {("R1", "fakeroot"): "Invalid argument"}


@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize("tool", sorted(file.stem for file in TOOLS.glob("*.sh")) if REPORT else ["sh"])
def test_tools_do_and_say_what_they_do_under_chroot(
    chroot: Chroot, engined: Engined, known: dict[str, Outcome], report: Report, tool: str
) -> None:
    script = f"cd {{}} && sh /build/tools/{tool}.sh"
    if tool not in known:
        known[tool] = chroot(script.format(workplace(chroot, tool)), SECONDS)
    expected = known[tool]
    found = engined(script.format(workplace(engined, tool)), SECONDS)
    assert expected.status == 0, expected
    if (engined.name, tool) in APART:
        assert APART[engined.name, tool] in found.text
        return
    same = found == expected
    extra = {} if same else {tool: f"{found.status}: {found.text[-500:]!r}"}
    report.add(Row(f"tool {tool}", engined.name, {tool: OK}, {tool: OK if same else "failed"}, extra))
    assert found == expected
