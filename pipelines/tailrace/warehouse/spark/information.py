"""`information_schema`, which Sail does not have: its tables are made of the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from tailrace.warehouse.spark.catalog import Name, Relation, View

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = "information_schema"
LAYOUT = {
    "schemata": ("schema_name",),
    "tables": ("table_schema", "table_name", "table_type"),
    "columns": (
        *("table_schema", "table_name", "column_name", "data_type"),
        *("ordinal_position", "is_nullable"),
    ),
    "routines": ("routine_name",),
}


def asks_information(tree: exp.Query) -> bool:
    """Whether a query reads `information_schema`."""
    return any(table.db.lower() == SCHEMA for table in tree.find_all(exp.Table))


def information(
    tree: exp.Query, schemas: Iterable[str], relations: Mapping[Name, Relation]
) -> pa.Table:
    """The rows of a query of `information_schema`, which DuckDB computes in memory."""
    import duckdb
    import pyarrow as pa

    listed = sorted(relations.items())
    rows: Mapping[str, Sequence[tuple[Any, ...]]] = {
        "schemata": [(schema,) for schema in sorted(schemas)],
        "tables": [
            (*name, "VIEW" if isinstance(relation, View) else "BASE TABLE")
            for name, relation in listed
        ],
        "columns": [
            (*name, column, type_, place, "YES")
            for name, relation in listed
            for place, (column, type_) in enumerate(relation.columns, 1)
        ],
        "routines": [],
    }
    with duckdb.connect(":memory:") as memory:
        for name, layout in LAYOUT.items():
            columns: Iterable[Sequence[Any]] = (
                zip(*rows[name], strict=True) if rows[name] else [()] * len(layout)
            )
            arrays = [
                pa.array(values, pa.int64() if column == "ordinal_position" else pa.string())
                for column, values in zip(layout, columns, strict=True)
            ]
            memory.register(name, pa.table(arrays, names=list(layout)))
        asked = tree.copy()
        for table in asked.find_all(exp.Table):
            table.set("db", None)
        return memory.sql(asked.sql("duckdb")).to_arrow_table()
