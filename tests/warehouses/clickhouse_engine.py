"""ClickHouse in this process, by the package chdb, which has the engine of the server."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tailrace.warehouse.statements import statement

DIALECT = "clickhouse"
IS_INSTALLED = importlib.util.find_spec("chdb") is not None
# ClickHouse's names of DuckDB's types; decimals have the same name.
TYPES = {
    "VARCHAR": "String",
    "BOOLEAN": "Bool",
    "INTEGER": "Int32",
    "BIGINT": "Int64",
    "DOUBLE": "Float64",
    "DATE": "Date32",
    "TIMESTAMP": "DateTime64(6, 'UTC')",
    "TIMESTAMP WITH TIME ZONE": "DateTime64(6, 'UTC')",
    "JSON": "String",
}


class ClickhouseError(Exception):
    """What ClickHouse says about a statement."""


class Clickhouse:
    """A session of the engine; it has one database for all sessions of a process."""

    def __init__(self, folder: Path) -> None:
        from chdb.session import Session

        self.folder = folder
        self._session = Session(str(folder / "clickhouse"))
        self.run(statement("warehouse/set_session", DIALECT))

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        try:
            answer = self._session.query(sql, "Arrow").bytes()
            if not answer:
                return []
            # An error after the first rows is written into the answer.
            table = pa.ipc.open_file(answer).read_all()
        except Exception as error:
            raise ClickhouseError(str(error).splitlines()[0]) from None
        columns = [column.to_pylist() for column in table.columns]
        return list(zip(*columns, strict=True)) if columns else []

    def parse(self, sql: str) -> None:
        """Have ClickHouse's own parser read a statement.

        Raises:
            ClickhouseError: It does not.
        """
        self.run(f"EXPLAIN AST {sql}")

    def table(self, name: str, types: Mapping[str, str], rows: pa.Table) -> None:
        """Create a table of `dataset.name` with rows.

        Args:
            name: Its name, with the dataset.
            types: ClickHouse's type of each column.
            rows: The rows, with these columns.
        """
        file = self.folder / "rows.parquet"
        pq.write_table(rows, file)
        listed = ", ".join(f"`{column}` {type_}" for column, type_ in types.items())
        self.run(f"CREATE DATABASE IF NOT EXISTS {name.partition('.')[0]}")
        self.run(f"DROP TABLE IF EXISTS {name}")
        self.run(f"CREATE TABLE {name} ({listed}) ENGINE = Memory")
        self.run(f"INSERT INTO {name} SELECT {', '.join(types)} FROM file('{file}', Parquet)")

    def copy(self, source: duckdb.DuckDBPyConnection, name: str) -> None:
        """Create a table with the rows of DuckDB's table of the same name."""
        described = source.execute(f"DESCRIBE {name}").fetchall()
        types = {str(row[0]): type_of(str(row[1])) for row in described}
        self.table(name, types, source.sql(f"FROM {name}").to_arrow_table())

    def close(self) -> None:
        self._session.close()


def type_of(duckdb_type: str) -> str:
    """ClickHouse's type of a column; all values may be NULL."""
    item = duckdb_type.removesuffix("[]")
    if item != duckdb_type:
        return f"Array({type_of(item)})"
    return f"Nullable({TYPES.get(duckdb_type, duckdb_type)})"
