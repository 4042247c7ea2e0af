"""Builds the properties of an event and the traits of a user or a group from a row.

A mapping of names to columns is compiled to a function from a row to the object that is sent.
Names are sorted at that time, so that equal rows give equal bytes for any order of the header. A
dotted name (`address.city`) is a path into a nested object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.audience.audience import Field
from tailrace.destinations.fields import (
    LEFT_OUT,
    Getter,
    Row,
    constant,
    getter,
    is_plain,
    object_builder,
)
from tailrace.encoding.values import Encoder, equal_when_sent, same
from tailrace.errors import HeaderInvalid

Builder = Callable[[Row], dict[str, Any]]
# A path, its column (None for a constant) and the function that reads a row.
Leaf = tuple[tuple[str, ...], str | None, Getter]


@dataclass(frozen=True, slots=True)
class Placeholder:
    """The place of a column's value, as JSON, in a template."""

    column: str


Text = Iterator[bytes | Placeholder]


class Mapped:
    """One compiled mapping: the properties of an event, or the traits of a user or a group."""

    def __init__(
        self,
        fields: Mapping[str, Field],
        *,
        encoder: Encoder,
        salt: str | None,
        constants: Mapping[str, Any] | None = None,
    ) -> None:
        mapped = {name: field for name, field in fields.items() if name not in (constants or {})}
        self._leaves: list[Leaf] = [
            (_path(name), field.column, getter(name, field, encoder, salt))
            for name, field in mapped.items()
        ]
        self._leaves += [
            ((name,), None, constant(value)) for name, value in (constants or {}).items()
        ]
        self._leaves.sort(key=lambda leaf: leaf[0])
        plain = {_path(name) for name, field in mapped.items() if is_plain(field)}
        self._encoder = encoder
        self._members = _tree(self._leaves)
        self.build: Builder = _builder(self._members, plain, encoder)
        # Plain: every column is sent as its JSON value, without hashing, masking or dropping.
        self.is_plain = all(column is None or path in plain for path, column, _ in self._leaves)

    def text(self) -> Text:
        """The object as JSON with a placeholder for each column; only if it is plain."""
        return _text(self._members, self._encoder)

    def placeholders(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """The paths that are filled from a row, and their columns."""
        return ((path, column) for path, column, _ in self._leaves if column is not None)

    def previous(self, new: Row, old: Row, sent: dict[str, Any]) -> dict[str, Any]:
        """The old values of the changed fields as they were sent, nested like the object `sent`."""
        changed: dict[str, Any] = {}
        for path, column, get in self._leaves:
            if column is None or same(new[column], old[column]):
                continue
            before, after = get(old), _at(path, sent)
            if before is after or equal_when_sent(before, after):
                # For example the hash of an address whose capitals changed.
                continue
            place = changed
            for step in path[:-1]:
                place = place.setdefault(step, {})
            place[path[-1]] = None if before is LEFT_OUT else before
        return changed


def _path(name: str) -> tuple[str, ...]:
    steps = tuple(name.split("."))
    return steps if all(steps) else (name,)


def _at(path: tuple[str, ...], built: dict[str, Any]) -> Any:
    value: Any = built
    for step in path:
        value = value.get(step, LEFT_OUT)
        if value is LEFT_OUT:
            break
    return value


def _tree(leaves: list[Leaf]) -> dict[str, Any]:
    """The leaves as a tree of names.

    Raises:
        HeaderInvalid: A name is mapped as a value and as an object.
    """
    tree: dict[str, Any] = {}
    for leaf in leaves:
        place = tree
        for step in leaf[0][:-1]:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise HeaderInvalid(
                    f"{step!r} is mapped as a value and as an object",
                    hint=f"Rename one of {step!r} and {'.'.join(leaf[0])!r} in the header.",
                )
        place[leaf[0][-1]] = leaf
    return tree


def _text(tree: dict[str, Any], encoder: Encoder) -> Text:
    """The object that `_builder` builds as JSON, with placeholders."""
    for index, name in enumerate(sorted(tree)):
        yield (b"," if index else b"{") + encoder.dumps(name) + b":"
        node = tree[name]
        if isinstance(node, dict):
            yield from _text(node, encoder)
        elif node[1] is None:
            yield encoder.dumps(node[2]({}))
        else:
            yield Placeholder(node[1])
    yield b"}" if tree else b"{}"


def _builder(tree: dict[str, Any], plain: set[tuple[str, ...]], encoder: Encoder) -> Builder:
    """A function from a row to the object, with sorted names."""
    places: dict[str, Any] = dict.fromkeys(sorted(tree))
    columns: list[tuple[str, str]] = []
    computed: list[tuple[str, Getter]] = []
    for name in places:
        node = tree[name]
        if isinstance(node, dict):
            computed.append((name, _builder(node, plain, encoder)))
        elif node[1] is None:
            places[name] = node[2]({})
        elif node[0] in plain:
            columns.append((name, node[1]))
        else:
            computed.append((name, node[2]))
    return object_builder(places, columns, computed, encoder)
