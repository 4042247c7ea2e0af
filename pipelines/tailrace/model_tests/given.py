"""The rows that a test gives, as tables of a warehouse in memory."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from tailrace.errors import ModelTestInvalid, WarehouseFailed
from tailrace.model_tests.file import ROWS_MAX, ModelTest, Row
from tailrace.models.parse import LANDED
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import TableName

# DuckDB's type of a column without values, which can be compared with any other type.
NO_TYPE = "NULL"
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)")
_FALSE_UNLESS_GIVEN = "is_deleted"


def create_given(
    warehouse: Warehouse,
    test: ModelTest,
    columns_read: Mapping[str, Collection[str]],
) -> tuple[str, ...]:
    """Create the tables that a test's model reads.

    Args:
        warehouse: A warehouse in memory.
        test: The test.
        columns_read: The columns that models read of each table, by `salesforce.<object>`,
            `dataset.table` or model. Those that the test does not give are NULL.

    Returns:
        The columns without a type, as `salesforce.contact.title`.
    """
    untyped: list[str] = []
    for table in {**columns_read, **test.given}:
        rows = test.given.get(table, ())
        types = column_types(rows, known=test.types.get(table, {}))
        for column in columns_read.get(table, ()):
            types.setdefault(column, NO_TYPE)
        is_landed = table.startswith(f"{LANDED}.")
        if is_landed and types.get(_FALSE_UNLESS_GIVEN, NO_TYPE) == NO_TYPE:
            types[_FALSE_UNLESS_GIVEN] = "BOOLEAN"
            rows = [{_FALSE_UNLESS_GIVEN: False, **row} for row in rows]
        create_view(warehouse, place_of(warehouse, table), rows, types)
        untyped += [f"{table}.{column}" for column, type_ in types.items() if type_ == NO_TYPE]
    return tuple(untyped)


def create_view(
    warehouse: Warehouse, view: TableName, rows: Sequence[Row], types: Mapping[str, str]
) -> None:
    """Create a view of rows."""
    columns = dict(types) or {"_": NO_TYPE}
    whole_rows = [{column: row.get(column) for column in columns} for row in rows]
    warehouse.run(
        "model_tests/create_given",
        tables={"given": view},
        rows=orjson.dumps(whole_rows).decode(),
        types=orjson.dumps([columns]).decode(),
    )


def check_given(warehouse: Warehouse, test: ModelTest, tables: Collection[str]) -> None:
    """Read every table that a test gives, to find a value that does not have its type.

    The values of a view are only converted when it is read.

    Raises:
        ModelTestInvalid: A value does not have its type.
    """
    for table in tables:
        try:
            warehouse.run(
                "model_tests/rows",
                tables={"model": place_of(warehouse, table)},
                rows_max=ROWS_MAX,
            )
        except WarehouseFailed:
            raise ModelTestInvalid(
                f'A value of {table} in the test "{test.name}" does not have its type',
                hint="Correct the value, or the column's type under types.",
                file=test.file,
                line=test.line,
            ) from None


def place_of(warehouse: Warehouse, table: str) -> TableName:
    """Where a table that a test names is: `salesforce.<object>`, `dataset.table`, or a model."""
    settings = warehouse.project.settings
    schema, _, name = table.rpartition(".")
    datasets = {LANDED: settings.dataset, "": settings.model_dataset}
    return TableName(datasets.get(schema, schema), name)


def column_types(rows: Sequence[Row], *, known: Mapping[str, str]) -> dict[str, str]:
    """The type of each column that rows give: the known one, or one that fits all its values.

    >>> column_types([{"id": "c1", "n": 1}, {"id": "c2", "day": "2026-01-31"}], known={})
    {'id': 'VARCHAR', 'n': 'DOUBLE', 'day': 'DATE'}
    """
    values: dict[str, list[Any]] = {}
    for row in rows:
        for column, value in row.items():
            values.setdefault(column, []).append(value)
    inferred = {column: _type_of(of_column) for column, of_column in values.items()}
    return inferred | dict(known)


def _type_of(values: Sequence[Any]) -> str:
    present = [value for value in values if value is not None]
    if not present:
        return NO_TYPE
    if all(isinstance(value, bool) for value in present):
        return "BOOLEAN"
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        return "DOUBLE"
    texts = [value for value in present if isinstance(value, str)]
    if len(texts) < len(present):
        return "JSON" if any(isinstance(value, dict | list) for value in present) else "VARCHAR"
    for pattern, type_ in ((_DATE, "DATE"), (_TIME, "TIMESTAMPTZ")):
        if all(pattern.fullmatch(text) for text in texts):
            return type_
    return "VARCHAR"
