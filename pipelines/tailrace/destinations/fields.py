"""Reads the mapped fields of a header from rows, hashed, masked or left out as the header says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tailrace.audience.audience import Field
from tailrace.encoding.transforms import transformation
from tailrace.encoding.values import PLAIN, Encoder
from tailrace.errors import UnsupportedValue

Row = Mapping[str, Any]
Getter = Callable[[Row], Any]

# Returned by a getter for a null field with `drop_if_null`.
LEFT_OUT = object()


def is_plain(field: Field) -> bool:
    """Whether a field is its column's JSON value: not hashed, masked, normalized or dropped."""
    return field.column is not None and not (
        field.hash or field.normalize or field.mask or field.drop_if_null
    )


def constant(value: Any) -> Getter:
    """A function that gives the same value for each row."""
    return lambda row: value


def getter(name: str, field: Field, encoder: Encoder, salt: str | None) -> Getter:
    """A function that reads a field from a row. The name may decide the normalization."""
    if field.column is None:
        return constant(encoder.encode(field.value))
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


def object_builder(
    places: dict[str, Any],
    columns: Sequence[tuple[str, str]],
    computed: Sequence[tuple[str, Getter]],
    encoder: Encoder,
) -> Callable[[Row], dict[str, Any]]:
    """A function from a row to an object.

    Args:
        places: The object's names in their order, with the values that are the same for each row.
        columns: Names whose value is a column's JSON value, with the column.
        computed: The other names, with the function that reads them.
        encoder: Encodes the values. Its errors get the name as their path.
    """
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
