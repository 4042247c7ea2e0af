"""dlt's DuckDB destination for a DuckLake, whose tables may have partitions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlt.common.schema.typing import TColumnSchema
from dlt.destinations.impl.duckdb.duck import DuckDbClient
from dlt.destinations.impl.duckdb.factory import duckdb

from tailrace.warehouse.locked_destination import LockedClient
from tailrace.warehouse.partitions import created_partition, lake_transforms


class _Partitioned(DuckDbClient):
    def _get_table_update_sql(
        self, table_name: str, new_columns: Sequence[TColumnSchema], generate_alter: bool
    ) -> list[str]:
        statements = super()._get_table_update_sql(table_name, new_columns, generate_alter)
        partition = created_partition(self.sql_client, new_columns, generate_alter=generate_alter)
        if partition is None:
            return statements
        column, unit = partition
        # sqlglot reads no partitions of a DuckLake.
        transforms = ", ".join(f"{transform}({column})" for transform in lake_transforms(unit))
        table = self.sql_client.make_qualified_table_name(table_name)
        return [*statements, f"ALTER TABLE {table} SET PARTITIONED BY ({transforms})"]


class _LockedPartitioned(_Partitioned, LockedClient):
    pass


class Lake(duckdb):
    """The destination of a DuckLake; in dlt's state it is DuckDB's."""

    def __init__(self, opened: Any, *, is_locked: bool) -> None:
        super().__init__(opened)
        self._is_locked = is_locked

    @property
    def client_class(self) -> type[DuckDbClient]:
        return _LockedPartitioned if self._is_locked else _Partitioned

    @property
    def destination_type(self) -> str:
        return duckdb().destination_type
