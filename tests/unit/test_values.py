"""Values that are declared as dataclasses are and cost less at start-up."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

from udocker.values import dataclass, field, replace


@dataclass(frozen=True)
class Point:
    x: int
    y: int = 2
    note: str = field(default="", repr=False, compare=False)
    tags: list[str] = field(default_factory=list, compare=False)

    @property
    def sum(self) -> int:
        return self.x + self.y


@dataclass(frozen=True, order=True)
class Version:
    major: int
    minor: int


@dataclasses.dataclass(frozen=True)
class Model:
    x: int
    y: int = 2
    note: str = dataclasses.field(default="", repr=False, compare=False)
    tags: list[str] = dataclasses.field(default_factory=list, compare=False)


@pytest.mark.parametrize("kind", [Point, Model])
def test_a_value_is_what_a_dataclass_is(kind: Any) -> None:
    value = kind(1, note="n")
    assert (value.x, value.y, value.note) == (1, 2, "n")
    assert repr(value) == f"{kind.__name__}(x=1, y=2, tags=[])"
    assert value == kind(1, 2, "other")
    assert value != kind(1, 3)
    assert value != (1, 2, "n")
    assert len({value, kind(1), kind(2)}) == 2
    assert dataclasses.asdict(value) == {"x": 1, "y": 2, "note": "n", "tags": []}
    assert [entry.name for entry in dataclasses.fields(kind)] == ["x", "y", "note", "tags"]
    assert kind(1).tags is not kind(1).tags
    assert dataclasses.replace(value, y=5) == kind(1, 5)
    assert dataclasses.is_dataclass(kind)
    assert kind.y == 2
    for attribute in ("x", "new"):
        with pytest.raises(AttributeError):
            setattr(value, attribute, 1)
    with pytest.raises(AttributeError):
        del value.x


@pytest.mark.parametrize("kind", [Point, Model])
@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((1, 2, "", [], 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((), {"y": 1})],
)
def test_wrong_arguments_are_refused(kind: Any, values: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        kind(*values, **named)


def test_a_value_is_copied_with_changes() -> None:
    assert replace(Point(1), x=3).sum == 5
    with pytest.raises(TypeError):
        replace(Point(1), z=3)  # type: ignore[call-arg]


def test_values_are_copied_and_pickled() -> None:
    value = Point(1, note="n")
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert dataclasses.asdict(other) == dataclasses.asdict(value)


def test_values_are_sorted_where_they_say_so() -> None:
    newest, oldest = Version(2, 0), Version(1, 9)
    assert sorted([newest, oldest]) == [oldest, newest]
    assert oldest <= newest > oldest
    with pytest.raises(TypeError):
        sorted([Point(1), Point(2)])  # type: ignore[type-var]
