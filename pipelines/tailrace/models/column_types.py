"""The column types of landed tables, sources and built models, for the translation of models."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from sqlglot import exp
from sqlglot.errors import SqlglotError

from tailrace.models.compile import BUILT
from tailrace.models.parse import LANDED
from tailrace.models.types import ColumnTypes
from tailrace.warehouse.connection import Warehouse
from tailrace.warehouse.statements import TableName


def column_types(warehouse: Warehouse) -> ColumnTypes:
    """Look up the columns of a table as a model names it; a table is read once."""
    settings = warehouse.project.settings
    datasets = {LANDED: settings.dataset, BUILT: settings.model_dataset}
    known: dict[tuple[str, str], Mapping[str, exp.DataType]] = {}

    def columns_of(schema: str, table: str) -> Mapping[str, exp.DataType]:
        key = (schema, table)
        if key not in known:
            # Another schema is that of a declared source.
            dataset = datasets.get(schema, schema)
            known[key] = _types(warehouse, TableName(dataset, table)) if dataset else {}
        return known[key]

    return columns_of


def _types(warehouse: Warehouse, table: TableName) -> Mapping[str, exp.DataType]:
    types: dict[str, exp.DataType] = {}
    for column in warehouse.columns_of(table):
        # A type that sqlglot does not know is left out, and counts as unknown.
        with suppress(SqlglotError, ValueError):
            # DuckDB writes the type of a column that is NULL in every row in quotes.
            name = "NULL" if column.type == '"NULL"' else column.type
            types[column.name] = exp.DataType.build(name, dialect=warehouse.dialect)
    return types
