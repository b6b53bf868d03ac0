"""What a suite of tests said under chroot and under an engine, and where the engine did worse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

OK, FAILED, SKIPPED, MISSING = "ok", "failed", "skipped", "missing"
# A test that differs is run again, by itself, so often.
REPEATS = 5

# What a mode cannot do, by the kernel's own rules.  Each of these has to differ, or its line goes;
# but for those that are a matter of moments.
_OTHERS = "a user namespace has no users but the caller: EINVAL, not EPERM (user_namespaces(7))"
_BUSY = "the program is mapped, not executed: no ETXTBSY (docs/decisions/0011)"
_WRITABLE = {"creat07": _BUSY, "execve04": _BUSY}
_TRAPPED = {"signal06": "its alternate signal stack cannot be written at the moment that a call is trapped"}
LIMITS: Mapping[str, Mapping[str, str]] = {
    "T1": {**_WRITABLE, **_TRAPPED},
    "T2": {**_WRITABLE, **_TRAPPED},
    "P1": _WRITABLE,
    "R1": {
        "test.test_os.ChownFileTests.test_chown_without_permission": _OTHERS,
        "test.test_subprocess.POSIXProcessTestCase.test_group": _OTHERS,
        "test.test_subprocess.POSIXProcessTestCase.test_user": _OTHERS,
    },
}

MOMENTARY = frozenset(_TRAPPED)

# The result of each test by its name.
Results = Mapping[str, str]


def worse(expected: Results, found: Results) -> dict[str, str]:
    """The tests that are well under chroot and not so under the engine, with what they are there.

    A test that only one of the two has counts as well: nothing may be left out quietly, or appear.
    """
    differing = {
        name: found.get(name, MISSING)
        for name, result in expected.items()
        if result in (OK, SKIPPED) and found.get(name, MISSING) != result
    }
    unknown = {name: result for name, result in found.items() if name not in expected and result != OK}
    return {name: result for name, result in {**differing, **unknown}.items() if result != OK}


def steady(name: str, repeat: Callable[[str, str], str], engine: str) -> bool:
    """Whether ``name`` fails under the engine when run by itself, and never under chroot.

    ``repeat`` runs one test under the runner that it is given the name of.
    """
    under_engine = [repeat(engine, name) for _ in range(REPEATS)]
    return any(result != OK for result in under_engine) and all(
        repeat("chroot", name) == OK for _ in range(REPEATS)
    )


@dataclass(frozen=True)
class Row:
    """One suite in one mode."""

    suite: str
    mode: str
    expected: Results
    found: Results
    extra: Mapping[str, str]
    unsteady: Mapping[str, str] = field(default_factory=dict)

    def faults(self) -> list[str]:
        """The extra failures that no limit of the mode explains, and the limits that are none."""
        limits = LIMITS.get(self.mode, {})
        lasting = (name for name in limits if name in self.expected and name not in MOMENTARY)
        stale = [f"{name}: no limit" for name in lasting if name not in self.extra]
        return [*(name for name in self.extra if name not in limits), *stale]

    def lines(self) -> list[str]:
        """The row for readers, and one line for each test that differs."""
        counts = " ".join(f"{_counted(results):<34}" for results in (self.expected, self.found))
        head = f"{self.suite:<32} {self.mode:<6} {counts} {len(self.extra)}"
        limits = LIMITS.get(self.mode, {})
        details = [
            f"    extra: {name}: {limits.get(name, result)}" for name, result in sorted(self.extra.items())
        ]
        details += [
            f"    unsteady: {name}: {result} at first" for name, result in sorted(self.unsteady.items())
        ]
        return [head.rstrip(), *details]


def _counted(results: Results) -> str:
    counts = Counter(results.values())
    return f"{counts[OK]} ok, {counts[FAILED]} failed, {counts[SKIPPED]} skipped"


@dataclass(frozen=True)
class Report:
    """The rows of a run of the tests."""

    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)

    def write(self, path: Path) -> None:
        """The whole table as text."""
        head = f"{'suite':<32} {'mode':<6} {'under chroot':<34} {'under the engine':<34} extra"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([head, *(line for row in self.rows for line in row.lines())]) + "\n")
