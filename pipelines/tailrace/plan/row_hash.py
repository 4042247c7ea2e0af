"""Hashes of all rows of a table, with what DuckDB's own hash does not tell apart.

PostgreSQL has no cheap hash of a row's values. There, a landed table is hashed by the place and
transaction of each row, which every write changes: a scan that reads no value. A row that is
written with the values that it had counts as a change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tailrace.errors import StatementRefused
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import Column, TableName

# Distinct values that collide in DuckDB's hash(): NULL, an empty list and a struct of NULLs; and a
# 128-bit number and the one with its halves swapped, such as 0 and -1. A list of plain values is
# distinguished by its length, deeper nesting by its text, a wide number by its value as a double.
_WIDE_TYPE = r"U?HUGEINT|DECIMAL\((19|2\d|3\d),\s?\d+\)"
_WIDE = re.compile(_WIDE_TYPE)
_LISTED = re.compile(rf"(?!({_WIDE_TYPE}|VARIANT)\[)[A-Z ]+(\(\d+(,\s?\d+)?\))?\[\]")
_HOLLOW = re.compile(r"\[|STRUCT|MAP|UNION|VARIANT")


def hash_complements(columns: Sequence[Column]) -> dict[str, tuple[Column, ...]]:
    """The columns for which a hash needs more than the value, by what it needs."""
    listed = tuple(column for column in columns if _LISTED.fullmatch(column.type))
    return {
        "listed": listed,
        "hollow": tuple(c for c in columns if _HOLLOW.search(c.type) and c not in listed),
        "wide": tuple(column for column in columns if _WIDE.fullmatch(column.type)),
    }


def table_hash(warehouse: Warehouse, table: TableName, columns: Sequence[Column]) -> str | None:
    """A hash of a table's columns and rows; None without columns, or without a cheap hash."""
    if columns and warehouse.engine.versions_rows:
        return _stored_hash(warehouse, table, columns)
    if not columns or not warehouse.engine.hashes_values:
        return None
    try:
        ((rows, *hashes),) = warehouse.run(
            "plan/measure",
            tables={"model": table},
            columns={"keys": (), "columns": columns, "places": (), **hash_complements(columns)},
        )
    except StatementRefused:
        # A source may be a view that fails; the models that read it report the error.
        return None
    return f"{_layout(columns)} {rows} {hashes}"


def _stored_hash(warehouse: Warehouse, table: TableName, columns: Sequence[Column]) -> str | None:
    """A hash of how PostgreSQL stores a table; None for a view, or a table of another program.

    Another program's table may be one whose rows or values depend on the role that reads it.
    """
    if table.dataset != warehouse.project.settings.dataset:
        return None
    stored = warehouse.run("plan/column_versions", dataset=table.dataset, name=table.name)
    if not stored:
        return None
    ((rows, versions),) = warehouse.run("plan/row_versions", tables={"model": table})
    return f"{_layout(columns)} {stored[0]} {rows} {versions}"


def _layout(columns: Sequence[Column]) -> str:
    return "(" + ", ".join(f"{column.name} {column.type}" for column in columns) + ")"
