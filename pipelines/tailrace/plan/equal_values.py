"""Changes of values that are equal when they are sent, although the engine says that they differ.

DuckDB compares JSON by its text, maps by the order of their entries, and timestamps by nanoseconds;
a message carries none of these differences. The values of such columns are compared here by the
rule of the mappers, only for the rows that the diff found. Of a value without a difference the
compared table gets the other side's, so that all later statements see equal values.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.encoding.values import json_value, unchanged
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import Bound, Column

# Types of DuckDB, in whole or in part of a nested type; PostgreSQL's names are in lower case.
_COMPARED_HERE = re.compile(r"\b(JSON|MAP|VARIANT|TIMESTAMP_NS|TIME_NS)\b")
_JSON = re.compile(r"JSON(\[\])*")
# Rows that are read, compared and updated together.
ROWS_MAX = 2_000


def columns_compared_here(columns: Sequence[Column]) -> tuple[Column, ...]:
    """The columns whose values the engine may call different although they are sent alike.

    >>> columns = (Column("a", "JSON"), Column("b", "json"), Column("c", "MAP(TEXT, INTEGER)[]"))
    >>> [column.name for column in columns_compared_here(columns)]
    ['a', 'c']
    """
    return tuple(column for column in columns if _COMPARED_HERE.search(column.type))


def take_equal_values(
    warehouse: Warehouse,
    *,
    name: str,
    tables: Mapping[str, Bound],
    lists: Mapping[str, Sequence[Column]],
) -> None:
    """Replace each value of a temporary table that is sent like the one that it is compared with.

    Only DuckDB's own statements need it.

    Args:
        warehouse: The open warehouse.
        name: The statements `plan/last_NAME`, `plan/differing_NAME` and `plan/take_NAME`.
        tables: What the names in the statements are bound to.
        lists: The column lists of the statements; `compared_here` has the columns to compare.
    """
    columns = lists["compared_here"]
    if not columns or not warehouse.engine.embedded:
        return
    ((last,),) = warehouse.run(f"plan/last_{name}", tables=tables)
    for first in range(0, int(last) + 1, ROWS_MAX):
        page: dict[str, Any] = {"first": first, "end": min(first + ROWS_MAX, int(last) + 1)}
        rows = warehouse.run(f"plan/differing_{name}", tables=tables, columns=lists, **page)
        # An update may move a row, so each row is updated once, in all of its columns.
        for equal, row_ids in _by_equal_columns(columns, rows).items():
            warehouse.run(
                f"plan/take_{name}",
                tables=tables,
                columns={**lists, "equal": equal},
                row_ids=f",{','.join(map(str, row_ids))},",
                **page,
            )


def _by_equal_columns(
    columns: Sequence[Column], rows: Sequence[Sequence[Any]]
) -> dict[tuple[Column, ...], list[int]]:
    """The numbers of rows by the columns that differ in the engine and are equal when sent."""
    by_columns: dict[tuple[Column, ...], list[int]] = defaultdict(list)
    for row_id, *values in rows:
        pairs = zip(columns, values[: len(columns)], values[len(columns) :], strict=True)
        equal = tuple(column for column, one, other in pairs if _is_equal(column, one, other))
        if equal:
            by_columns[equal].append(int(row_id))
    return by_columns


def _is_equal(column: Column, one: Any, other: Any) -> bool:
    if _JSON.fullmatch(column.type):
        one, other = json_value(one), json_value(other)
    return unchanged(one, other)
