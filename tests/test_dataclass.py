"""`tailrace.dataclass` makes classes that behave like Python's: each test runs with both."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field
from typing import Any

import pytest

from tailrace.dataclass import dataclass as own

Decorator = Callable[..., Callable[[type], Any]]


class Point:
    x: float
    y: float
    name: str = "a point"
    tags: list[str] = field(default_factory=list)
    secret: str = field(default="s3cret", repr=False)
    cache: Any = field(default=None, compare=False)


class Line:
    """A class that has methods of its own."""

    start: int
    end: int = 9

    def __repr__(self) -> str:
        return f"{self.start}-{self.end}"

    @property
    def length(self) -> int:
        return self.end - self.start


class Single:
    value: object


class Empty:
    pass


@pytest.fixture(params=[dataclasses.dataclass, own], ids=["python's", "our own"])
def decorate(request: pytest.FixtureRequest) -> Decorator:
    """A decorator of a copy of a class, since the tests decorate it several times."""

    def decorator(**options: bool) -> Callable[[type], Any]:
        def decorated(cls: type) -> Any:
            members = {
                name: copy.copy(value)
                for name, value in vars(cls).items()
                if name not in ("__dict__", "__weakref__")
            }
            return request.param(**options)(type(cls.__name__, cls.__bases__, members))

        return decorated

    return decorator


def test_fields_are_given_or_have_defaults_of_their_own(decorate: Decorator) -> None:
    made = decorate(frozen=True, kw_only=True)(Point)
    point, other = made(x=1, y=2), made(y=2, x=1, name="b", tags=["t"])
    assert (1, 2, "a point", [], "s3cret", None) == dataclasses.astuple(point)
    assert (1, 2, "b", ["t"], "s3cret", None) == dataclasses.astuple(other)
    assert point.tags is not made(x=1, y=2).tags


@pytest.mark.parametrize(
    ("kw_only", "arguments", "named"),
    [
        (True, (), {"x": 1}),
        (True, (), {"x": 1, "y": 2, "z": 3}),
        (True, (1, 2), {}),
        (False, (1,), {}),
        (False, (1, 2), {"x": 3}),
        (False, (1, 2, "n", [], "s", None, 7), {}),
    ],
)
def test_other_arguments_are_refused(
    decorate: Decorator, kw_only: bool, arguments: tuple[Any, ...], named: dict[str, Any]
) -> None:
    made = decorate(kw_only=kw_only)(Point)
    with pytest.raises(TypeError, match="Point"):
        made(*arguments, **named)


def test_fields_may_be_given_by_place(decorate: Decorator) -> None:
    line = decorate(frozen=True)(Line)
    assert (3, 9) == dataclasses.astuple(line(3))
    assert (3, 4) == dataclasses.astuple(line(3, end=4))


def test_equal_fields_make_equal_instances_of_one_class(decorate: Decorator) -> None:
    made = decorate(frozen=True, kw_only=True)(Point)
    assert made(x=1, y=2) == made(x=1, y=2, cache="another")
    assert made(x=1, y=2) != made(x=1, y=3)
    assert made(x=1, y=2) != (1, 2, "a point", [], "s3cret")
    assert made(x=1, y=2) != type("Nearer", (made,), {})(x=1, y=2)
    single = decorate(frozen=True)(Single)
    not_a_number = float("nan")
    assert single(not_a_number) == single(not_a_number)
    assert single(1) != single(2)
    empty = decorate(frozen=True)(Empty)
    assert empty() == empty()


def test_only_frozen_instances_have_a_hash(decorate: Decorator) -> None:
    line = decorate(frozen=True)(Line)
    assert {line(1): "first", line(2): "second"}[line(1, 9)] == "first"
    assert hash(decorate(frozen=True)(Single)(1)) == hash((1,))
    with pytest.raises(TypeError, match="unhashable"):
        hash(decorate()(Line)(1))


def test_frozen_instances_keep_their_fields(decorate: Decorator) -> None:
    line = decorate(frozen=True)(Line)(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'end'"):
        line.end = 4
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'end'"):
        del line.end
    assert line.end == 9
    changeable = decorate()(Line)(1)
    changeable.end = 4
    assert changeable == type(changeable)(1, 4)


def test_instances_are_shown_without_hidden_fields(decorate: Decorator) -> None:
    shown = repr(decorate(kw_only=True)(Point)(x=1, y=2, tags=["t"]))
    assert shown.endswith("Point(x=1, y=2, name='a point', tags=['t'], cache=None)")
    around = decorate()(Single)(None)
    around.value = [around]
    assert repr(around).endswith("Single(value=[...])")


def test_methods_of_the_class_are_kept(decorate: Decorator) -> None:
    line = decorate(frozen=True)(Line)(2)
    assert "2-9" == repr(line)
    assert line.length == 7


def test_dataclasses_and_copies_know_them(decorate: Decorator) -> None:
    made = decorate(frozen=True, kw_only=True)(Point)
    point = made(x=1, y=2, tags=["t"])
    moved = dataclasses.replace(point, x=5, cache=3)
    assert (5, 2, "a point", ["t"], "s3cret", 3) == dataclasses.astuple(moved)
    assert dataclasses.asdict(point) == vars(point)
    assert dataclasses.is_dataclass(made)
    assert copy.deepcopy(point) == point
    assert copy.deepcopy(point).tags is not point.tags


def test_a_subclass_adds_fields(decorate: Decorator) -> None:
    line = decorate(frozen=True)(Line)

    class Dashed(line):  # type: ignore[misc, valid-type]
        dashes: int = 3

    dashed = decorate(frozen=True)(Dashed)
    assert (1, 2, 3) == dataclasses.astuple(dashed(1, 2))
    assert dashed(1, 2).length == 1
