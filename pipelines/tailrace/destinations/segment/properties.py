"""What a message carries: the properties of an event, the traits of a user or a group.

A mapping of names to columns becomes a builder that turns a row into the object that is sent.
Names are sorted when the builder is made, so that equal rows give equal bytes whatever the order
in the header; a dotted name (`address.city`) is a place inside an object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.audience.audience import Field
from tailrace.encoding.transforms import transformation
from tailrace.encoding.values import PLAIN, Encoder, same
from tailrace.errors import HeaderInvalid, UnsupportedValue

Row = Mapping[str, Any]
Getter = Callable[[Row], Any]
Builder = Callable[[Row], dict[str, Any]]
# A name with the column it comes from (none for a constant) and what it sends.
Leaf = tuple[tuple[str, ...], str | None, Getter]

# What a getter answers for a field that is left out where it is null.
LEFT_OUT = object()


@dataclass(frozen=True, slots=True)
class Hole:
    """Where the JSON of a column's value stands in a text."""

    column: str


Text = Iterator[bytes | Hole]


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
            ((name,), None, _constant(value)) for name, value in (constants or {}).items()
        ]
        self._leaves.sort(key=lambda leaf: leaf[0])
        plain = {_path(name) for name, field in mapped.items() if _is_plain(field)}
        self._encoder = encoder
        self._members = _tree(self._leaves)
        self.build: Builder = _builder(self._members, plain, encoder)
        # Whether a row changes no more of the object than the values in their places.
        self.is_plain = all(column is None or path in plain for path, column, _ in self._leaves)

    def text(self) -> Text:
        """The object as JSON with a hole for each column, where it is plain."""
        return _text(self._members, self._encoder)

    def holes(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """The places that are filled from a row, and their columns."""
        return ((path, column) for path, column, _ in self._leaves if column is not None)

    def previous(self, new: Row, old: Row, sent: dict[str, Any]) -> dict[str, Any]:
        """The old values of what moved, as they were sent, in the shape of the object `sent`."""
        moved: dict[str, Any] = {}
        for path, column, get in self._leaves:
            if column is None or same(new[column], old[column]):
                continue
            before, after = get(old), _at(path, sent)
            if before is after or (before == after and before.__class__ is after.__class__):
                # A digest of the same address in other letters: what was sent did not move.
                continue
            place = moved
            for step in path[:-1]:
                place = place.setdefault(step, {})
            place[path[-1]] = None if before is LEFT_OUT else before
        return moved


def _is_plain(field: Field) -> bool:
    return field.column is not None and not (
        field.hash or field.normalize or field.mask or field.drop_if_null
    )


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


def _constant(value: Any) -> Getter:
    return lambda row: value


def getter(name: str, field: Field, encoder: Encoder, salt: str | None) -> Getter:
    """What a field sends of a row, under the name that may decide how it is normalized."""
    if field.column is None:
        return _constant(encoder.encode(field.value))
    column, drop = field.column, field.drop_if_null
    change = transformation(
        name.rpartition(".")[2],
        hash=field.hash,
        normalize=field.normalize,
        mask_it=field.mask,
        salt=salt,
    )
    if change is None:
        if not drop:
            return lambda row: encoder.encode(row[column])

        def present(row: Row) -> Any:
            value = encoder.encode(row[column])
            return LEFT_OUT if value is None else value

        return present

    def changed(row: Row) -> Any:
        text = encoder.text(row[column])
        value = None if text is None else change(text)
        return LEFT_OUT if drop and value is None else value

    return changed


def _tree(leaves: list[Leaf]) -> dict[str, Any]:
    """Leaves by their place: a name is a leaf, or an object of further names, never both."""
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
    """What `_builder` builds, as JSON in its order."""
    for at, name in enumerate(sorted(tree)):
        yield (b"," if at else b"{") + encoder.dumps(name) + b":"
        node = tree[name]
        if isinstance(node, dict):
            yield from _text(node, encoder)
        elif node[1] is None:
            yield encoder.dumps(node[2]({}))
        else:
            yield Hole(node[1])
    yield b"}" if tree else b"{}"


def _builder(tree: dict[str, Any], plain: set[tuple[str, ...]], encoder: Encoder) -> Builder:
    """A function from a row to the object; names keep their sorted places."""
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
    encode = encoder.encode

    def build(row: Row) -> dict[str, Any]:
        built = places.copy()
        name = ""
        try:
            for name, column in columns:
                value = row[column]
                built[name] = value if value.__class__ in PLAIN else encode(value)
            for name, get in computed:
                value = get(row)
                if value is LEFT_OUT:
                    del built[name]
                else:
                    built[name] = value
        except UnsupportedValue as error:
            raise error.at(name) from None
        return built

    return build
