"""Partitions of landed tables: the hints of dlt, by engine.

DuckLake and Spark have destinations of Tailrace's own, which read `UNIT_HINT`; for the others, dlt
has hints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

UNIT_HINT = "x-partition-unit"
# ClickHouse's functions by unit.
_CLICKHOUSE = {"year": "toYear", "month": "toYYYYMM", "day": "toYYYYMMDD"}
# The transforms of a partitioned table, from the coarsest: a month is one of a year.
_TRANSFORMS = ("year", "month", "day")


def table_hints(engine: str, column: str, data_type: str, unit: str) -> dict[str, Any]:
    """dlt's hints of a table that is partitioned by a column.

    Args:
        engine: A dialect of sqlglot, or `ducklake`.
        column: The column's name.
        data_type: dlt's name of its type: `date` or `timestamp`.
        unit: `year`, `month` or `day`.
    """
    if engine == "bigquery":
        return {"x-bigquery-partition": {column: _truncated_in_bigquery(data_type, unit)}}
    if engine == "clickhouse":
        # Each landed column but the id may be NULL.
        return {
            "x-clickhouse-partition": f"{_CLICKHOUSE[unit]}({column})",
            "x-clickhouse-settings": {"allow_nullable_key": True},
        }
    return {}


def _truncated_in_bigquery(data_type: str, unit: str) -> str:
    """BigQuery's partition expression, a template of dlt's.

    https://cloud.google.com/bigquery/docs/creating-partitioned-tables
    """
    if data_type == "date" and unit == "day":
        return "{column_name}"
    function = "DATE_TRUNC" if data_type == "date" else "TIMESTAMP_TRUNC"
    return f"{function}({{column_name}}, {unit.upper()})"


def column_hints(engine: str, unit: str) -> dict[str, Any]:
    """dlt's hints of the column that a table is partitioned by.

    Snowflake and Databricks have no such partitions; they keep rows of similar values together.
    """
    hints: dict[str, Any] = {UNIT_HINT: unit}
    if engine in ("snowflake", "databricks"):
        hints["cluster"] = True
    return hints


def partitioned_column(columns: Mapping[str, Mapping[str, Any]]) -> tuple[str, str] | None:
    """The column of dlt's schema by which a table is partitioned, and the unit; None if none is."""
    for name, hints in columns.items():
        if UNIT_HINT in hints:
            return name, str(hints[UNIT_HINT])
    return None


def created_partition(
    client: Any, new_columns: Sequence[Mapping[str, Any]], *, generate_alter: bool
) -> tuple[str, str] | None:
    """The column, as SQL, and the unit of a table that dlt creates; None without partitions.

    Args:
        client: dlt's SQL client. Its staging dataset holds the rows of one load.
        new_columns: The columns that dlt adds.
        generate_alter: dlt adds them to a table that exists.
    """
    partitioned = partitioned_column({str(column["name"]): column for column in new_columns})
    if partitioned is None or generate_alter:
        return None
    if client.dataset_name == client.staging_dataset_name:
        return None
    return client.escape_column_name(partitioned[0]), partitioned[1]


def lake_transforms(unit: str) -> tuple[str, ...]:
    """A DuckLake's transforms of a date, whose values together are the unit.

    >>> lake_transforms("month")
    ('year', 'month')
    """
    return _TRANSFORMS[: _TRANSFORMS.index(unit) + 1]
