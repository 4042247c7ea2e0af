"""dlt's DuckDB destination for an engine whose configuration is locked.

dlt sets options of the engine each time that it opens a connection, and a locked engine refuses
that. A watching process has set them before it locked the engine.
"""

from __future__ import annotations

from typing import Any

from dlt.destinations.impl.duckdb.duck import DuckDbClient
from dlt.destinations.impl.duckdb.factory import duckdb


class LockedClient(DuckDbClient):
    """dlt's client, which sets no option of the engine."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sql_client._pragmas = []
        self.sql_client._global_config = {}


class LockedDuckdb(duckdb):
    """The same destination in dlt's state: only its connections are opened in another way."""

    @property
    def client_class(self) -> type[DuckDbClient]:
        return LockedClient

    @property
    def destination_type(self) -> str:
        return duckdb().destination_type
