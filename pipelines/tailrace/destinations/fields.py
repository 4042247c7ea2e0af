"""Reads the mapped fields of a header from rows, hashed, masked or left out as the header says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tailrace.audience.audience import Field
from tailrace.encoding.transforms import transformation
from tailrace.encoding.values import Encoder

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
