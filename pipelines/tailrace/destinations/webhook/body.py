"""The template of an element: read from a header's `webhook.body`, and filled from rows.

A template is kept as JSON values: an object is `{"object": {name: template}}`, a list
`{"list": [template]}`, and a value `{"field": {…}}` with the options of `Field`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tailrace.audience.audience import Field
from tailrace.audience.blocks import Transformation
from tailrace.destinations.fields import LEFT_OUT, Row, getter, is_plain, object_builder
from tailrace.encoding.values import Encoder, equal_when_sent, same
from tailrace.warehouse.statements import Column

Template = Mapping[str, Any]
Path = tuple[str, ...]
Problem = tuple[Path, str, str]

OPTIONS = frozenset({"column", "hash", "normalize", "mask", "drop_if_null"})
_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "hash": ("sha256", None),
    "normalize": ("email", "phone", "name", "none", None),
    "mask": (True, False),
    "drop_if_null": (True, False),
}
_LEAF_HINT = "Name a column as text, write a constant as {value: …}, or nest an object or a list."


def read_template(written: Any, path: Path, problems: list[Problem]) -> Template:
    """The template of a part of a body.

    Args:
        written: The part as YAML values.
        path: Its place in the header.
        problems: Gets what is wrong: a place, a message and a hint.
    """
    if isinstance(written, str) and written:
        return {"field": {"column": written.lower()}}
    if isinstance(written, list):
        items = [
            read_template(item, (*path, str(place)), problems) for place, item in enumerate(written)
        ]
        return {"list": items}
    if isinstance(written, Mapping) and set(written) == {"value"}:
        return {"field": {"value": written["value"]}}
    if isinstance(written, Mapping) and "column" in written and set(written) <= OPTIONS:
        return {"field": _field(written, path, problems)}
    if isinstance(written, Mapping) and written:
        return {
            "object": {
                name: read_template(inner, (*path, name), problems)
                for name, inner in written.items()
            }
        }
    problems.append((path, f"{'.'.join(path)} is not a column", _LEAF_HINT))
    return {"field": {"value": None}}


def _field(written: Mapping[str, Any], path: Path, problems: list[Problem]) -> dict[str, Any]:
    place = ".".join(path)
    column = written["column"]
    if not isinstance(column, str) or not column:
        problems.append(((*path, "column"), f"{place}.column is not a column", _LEAF_HINT))
        column = ""
    for name, choices in _CHOICES.items():
        given = written.get(name)
        if name in written and not any(given is c or (given == c and c != 1) for c in choices):
            allowed = ", ".join("null" if c is None else str(c).lower() for c in choices)
            message = f"{place}.{name} must be one of {allowed}"
            problems.append(((*path, name), message, f"Correct {name}."))
    if written.get("hash") and written.get("mask"):
        problems.append((path, f"{place} has both hash and mask", "Choose one of them."))
    options = {name: written[name] for name in written if written[name] not in (None, False)}
    return options | {"column": column.lower()}


def transformed(template: Template, transformation: Transformation, path: str = "") -> Template:
    """The template without dropped names, under the new ones; names are paths with dots."""
    if "object" not in template:
        return template
    kept: dict[str, Template] = {}
    for name, inner in template["object"].items():
        here = f"{path}{name}"
        if here not in transformation.drop:
            new_name = transformation.rename.get(here, name)
            kept[new_name] = transformed(inner, transformation, f"{here}.")
    return {"object": kept}


def names_in(template: Template, path: str = "") -> Iterator[str]:
    """Every name in a template, as a path with dots."""
    for name, inner in template.get("object", {}).items():
        yield f"{path}{name}"
        yield from names_in(inner, f"{path}{name}.")


def columns_in(template: Template, path: Path) -> Iterator[tuple[str, str]]:
    """The columns of a template, each with its place in the header."""
    if "object" in template:
        for name, inner in template["object"].items():
            yield from columns_in(inner, (*path, name))
    elif "list" in template:
        for place, inner in enumerate(template["list"]):
            yield from columns_in(inner, (*path, str(place)))
    elif "column" in template["field"]:
        yield ".".join(path), template["field"]["column"]


def _fields(template: Template) -> Iterator[Field]:
    """The fields of a template."""
    for inner in (*template.get("object", {}).values(), *template.get("list", ())):
        yield from _fields(inner)
    if "field" in template:
        yield Field(**template["field"])


class Body:
    """A compiled template.

    Args:
        template: An object.
        encoder: Encodes the values and counts those that were changed.
        salt: The project's salt for hashed values.
    """

    def __init__(self, template: Template, *, encoder: Encoder, salt: str | None) -> None:
        self._template = template
        self._encoder = encoder
        self._salt = salt
        self._build = self._builder(template, "")
        self._leaves = list(self._leaves_of(template, ()))

    def build(self, row: Row) -> dict[str, Any]:
        """The object of a row.

        Raises:
            UnsupportedValue: A value cannot be sent; with its place.
        """
        built: dict[str, Any] = self._build(row)
        return built

    def previous(self, new: Row, old: Row) -> dict[str, Any]:
        """The old values of what changed, nested like the object; a list as a whole."""
        previous: dict[str, Any] = {}
        for path, columns, build in self._leaves:
            if all(same(new[column], old[column]) for column in columns):
                continue
            before = build(old)
            if equal_when_sent(before, build(new)):
                # For example the hash of an address whose capitals changed.
                continue
            place = previous
            for step in path[:-1]:
                place = place.setdefault(step, {})
            place[path[-1]] = None if before is LEFT_OUT else before
        return previous

    def text(self) -> Iterator[bytes | Column]:
        """The object as JSON with a column in place of each of its values; only if it is plain."""
        return self._text(self._template)

    @property
    def is_plain(self) -> bool:
        """Whether every value is its column's JSON value, or a constant."""
        return all(is_plain(field) or field.column is None for field in _fields(self._template))

    @property
    def flat_columns(self) -> dict[str, str] | None:
        """The columns of the object's members by name; None if it has nested columns."""
        members: dict[str, str] = {}
        for path, columns, _ in self._leaves:
            if len(path) > 1 or "list" in self._template["object"][path[0]]:
                return None
            members[path[0]] = columns[0]
        return members

    def _text(self, template: Template) -> Iterator[bytes | Column]:
        if "field" in template:
            field = Field(**template["field"])
            constant = self._encoder.dumps(self._encoder.encode(field.value))
            yield Column(field.column) if field.column else constant
            return
        dumps = self._encoder.dumps
        is_object = "object" in template
        parts = (
            [(dumps(name) + b":", inner) for name, inner in template["object"].items()]
            if is_object
            else [(b"", inner) for inner in template["list"]]
        )
        yield b"{" if is_object else b"["
        for place, (label, inner) in enumerate(parts):
            yield (b"," if place else b"") + label
            yield from self._text(inner)
        yield b"}" if is_object else b"]"

    def _leaves_of(
        self, template: Template, path: Path
    ) -> Iterator[tuple[Path, tuple[str, ...], Callable[[Row], Any]]]:
        """The parts that may change, each with its columns and a function that builds it."""
        if "object" in template:
            for name, inner in template["object"].items():
                yield from self._leaves_of(inner, (*path, name))
            return
        columns = tuple(dict.fromkeys(column for _, column in columns_in(template, path)))
        if columns:
            yield path, columns, self._builder(template, path[-1])

    def _builder(self, template: Template, name: str) -> Callable[[Row], Any]:
        if "object" in template:
            return self._object_builder(template["object"])
        if "list" in template:
            items = [self._builder(item, name) for item in template["list"]]
            return lambda row: [
                None if (value := build(row)) is LEFT_OUT else value for build in items
            ]
        field = Field(**template["field"])
        return getter(name, field, self._encoder, self._salt)

    def _object_builder(self, members: Mapping[str, Template]) -> Callable[[Row], dict[str, Any]]:
        plain: list[tuple[str, str]] = []
        computed: list[tuple[str, Callable[[Row], Any]]] = []
        for name, inner in members.items():
            if "field" in inner and is_plain(Field(**inner["field"])):
                plain.append((name, inner["field"]["column"]))
            else:
                computed.append((name, self._builder(inner, name)))
        return object_builder(dict.fromkeys(members), plain, computed, self._encoder)
