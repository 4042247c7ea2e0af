"""`dataclass` for classes that are imported more often than their instances are made.

Python's decorator writes the source of up to seven methods for each class and compiles it, which
takes half a millisecond. An idle run imports some eighty of these classes, and a delivery two
hundred. This one has the fields found by Python's, and gives all classes the same few methods.
Instances behave the same, and `fields`, `replace` and `asdict` of `dataclasses` take them.

Classes with slots, which are made for each row or message, keep Python's decorator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from reprlib import recursive_repr
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool = False, kw_only: bool = False) -> Callable[[type], type]:
        """As `dataclasses.dataclass`, without `__post_init__` and `InitVar`.

        Args:
            frozen: Attributes cannot be set, and instances have a hash.
            kw_only: Fields are given by name.
        """

        def decorate(cls: type) -> type:
            dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
            fields = dataclasses.fields(cls)
            methods = {
                "__init__": _initializer(fields),
                "__repr__": _representation([field.name for field in fields if field.repr]),
                **_comparison([field.name for field in fields if field.compare], frozen=frozen),
            }
            if frozen:
                methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
            for name, method in methods.items():
                if name not in vars(cls):
                    setattr(cls, name, method)
            return cls

        return decorate


def _initializer(fields: tuple[dataclasses.Field[Any], ...]) -> Callable[..., None]:
    missing = dataclasses.MISSING
    all_names = {field.name for field in fields}
    names = frozenset(field.name for field in fields if field.init)
    positional = tuple(field.name for field in fields if field.init and not field.kw_only)
    defaults = {f.name: f.default for f in fields if f.default is not missing}
    factories = {f.name: f.default_factory for f in fields if f.default_factory is not missing}
    required = names - defaults.keys() - factories.keys()

    def __init__(self: Any, /, *arguments: Any, **values: Any) -> None:
        if arguments:
            values = _named(self, positional, arguments, values)
        if values.keys() != all_names:
            if not required <= values.keys() <= names:
                raise _wrong_arguments(self, required - values.keys(), values.keys() - names)
            for name, factory in factories.items():
                if name not in values:
                    values[name] = factory()
            values = {**defaults, **values}
        self.__dict__.update(values)

    return __init__


def _named(
    instance: Any, names: tuple[str, ...], arguments: tuple[Any, ...], values: dict[str, Any]
) -> dict[str, Any]:
    """All arguments by name."""
    if len(arguments) > len(names):
        raise TypeError(
            f"{type(instance).__qualname__}() takes {len(names)} positional arguments,"
            f" got {len(arguments)}"
        )
    given = dict(zip(names, arguments, strict=False))
    if twice := given.keys() & values.keys():
        raise TypeError(
            f"{type(instance).__qualname__}() got several values for {', '.join(sorted(twice))}"
        )
    return given | values


def _wrong_arguments(instance: Any, missing: frozenset[str], unknown: set[str]) -> TypeError:
    problem = "misses" if missing else "has no field"
    return TypeError(
        f"{type(instance).__qualname__}() {problem} {', '.join(sorted(missing or unknown))}"
    )


def _representation(names: list[str]) -> Callable[[Any], str]:
    @recursive_repr()
    def __repr__(self: Any) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({values})"

    return __repr__


def _comparison(names: list[str], *, frozen: bool) -> dict[str, Callable[..., Any] | None]:
    """`__eq__`, and the `__hash__` of immutable instances."""
    several = attrgetter(*names) if len(names) > 1 else None

    def values(instance: Any) -> tuple[Any, ...]:
        return several(instance) if several else tuple(getattr(instance, name) for name in names)

    def __eq__(self: Any, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return values(self) == values(other)

    def __hash__(self: Any) -> int:
        return hash(values(self))

    return {"__eq__": __eq__, "__hash__": __hash__ if frozen else None}


def _refuse_to_set(instance: Any, name: str, value: Any) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(instance: Any, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
