"""Sessions with a warehouse: DuckDB's own connection, and dlt's for every other engine.

A DuckDB file is opened by Tailrace and lent to dlt while objects land. Every other command works
without importing dlt, which takes longer than a small plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from tailrace.warehouse.statements import Column, statement

if TYPE_CHECKING:
    import duckdb

PIPELINE = "tailrace"
# DuckDB itself has no limit; this is dlt's for it.
DUCKDB_NAME_BYTES_MAX = 65_536
# Settings of DuckDB that are given when a file is opened.
DuckdbOptions = dict[str, str | bool | int | float | list[str]]


class Session(Protocol):
    """One connection: temporary tables and transactions are its own.

    Attributes:
        dialect: sqlglot's name of the engine's dialect.
        engine: The engine's name in `ENGINES`.
        name_bytes_max: The length limit of names.
    """

    dialect: str
    engine: str
    name_bytes_max: int

    @property
    def native(self) -> Any:
        """The driver's connection."""

    def execute(self, sql: str) -> Sequence[Sequence[Any]] | None:
        """Run a statement; after an error, the transaction is rolled back."""

    def transaction(self) -> AbstractContextManager[Any]:
        """A transaction: commits at the end of the block, rolls back after an exception."""

    def rollback(self) -> None:
        """Roll back the transaction that is open."""

    def create_dataset(self, name: str) -> None:
        """Create a dataset."""

    def another(self) -> Session:
        """A second connection to the same warehouse."""

    def destination(self, *, is_locked: bool) -> Any:
        """The dlt destination that lands objects over the same connection.

        With `is_locked`, it sets no option of the engine.
        """

    def close(self) -> None:
        """Close the connection."""


class DuckdbSession:
    """A cursor of an open DuckDB file; cursors have temporary tables of their own."""

    dialect = "duckdb"
    name_bytes_max = DUCKDB_NAME_BYTES_MAX

    def __init__(self, opened: duckdb.DuckDBPyConnection, engine: str = "duckdb") -> None:
        self.engine = engine
        self._opened = opened
        self._cursor = opened.cursor()

    @property
    def native(self) -> duckdb.DuckDBPyConnection:
        return self._cursor

    def execute(self, sql: str) -> Sequence[Sequence[Any]] | None:
        try:
            self._cursor.execute(sql)
            return self._cursor.fetchall() if self._cursor.description else None
        except Exception:
            self.rollback()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._cursor.begin()
        try:
            yield
            self._cursor.commit()
        except Exception:
            self.rollback()
            raise

    def rollback(self) -> None:
        # DuckDB may have rolled it back already.
        with suppress(Exception):
            self._cursor.rollback()

    def create_dataset(self, name: str) -> None:
        self.execute(statement("warehouse/create_dataset", self.dialect, column=Column(name)))

    def another(self) -> Session:
        return DuckdbSession(self._opened, self.engine)

    def destination(self, *, is_locked: bool) -> Any:
        if self.engine == "ducklake":
            from tailrace.warehouse.lake_destination import Lake

            return Lake(self._opened, is_locked=is_locked)
        if is_locked:
            from tailrace.warehouse.locked_destination import LockedDuckdb

            return LockedDuckdb(self._opened)
        import dlt

        return dlt.destinations.duckdb(self._opened)

    def close(self) -> None:
        self._cursor.close()

    def close_database(self) -> None:
        """Close the file that the sessions share."""
        self._opened.close()


class DltSession:
    """A connection of one of dlt's SQL destinations.

    Args:
        destination: The destination.
        dataset: The dataset that names without one are in.
        engine: The engine's name, where other engines have its dialect.
    """

    def __init__(self, destination: Any, dataset: str, engine: str | None = None) -> None:
        import dlt

        self._destination = destination
        self._dataset = dataset
        self._engine = engine
        # dlt's stored schema is not needed here, and reading it takes as long as a small run.
        opened = dlt.dataset(destination, dataset, schema=dlt.Schema(PIPELINE))
        self._client: Any = opened.sql_client
        self._client.open_connection()
        self.dialect = str(self._client.capabilities.sqlglot_dialect)
        self.engine = engine or self.dialect
        self.name_bytes_max = int(self._client.capabilities.max_identifier_length)

    @property
    def native(self) -> Any:
        return self._client.native_connection

    def execute(self, sql: str) -> Sequence[Sequence[Any]] | None:
        self._connect_again()
        rows: Sequence[Sequence[Any]] | None = self._client.execute_sql(sql)
        return rows

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._connect_again()
        failure: Exception | None = None
        try:
            with self._client.begin_transaction():
                try:
                    yield
                except Exception as error:
                    failure = error
                    raise
        except Exception as error:
            # If the connection was lost, dlt's rollback fails too, and hides why.
            raise failure or error from None

    def rollback(self) -> None:
        if self._client.native_connection is not None:
            self._client.rollback_transaction()

    def _connect_again(self) -> None:
        """Open a connection that was lost. dlt does it once, and gives up if the server is down."""
        if self._client.native_connection is None:
            self._client.open_connection()

    def create_dataset(self, name: str) -> None:
        with self._client.with_alternative_dataset_name(name):
            self._client.create_dataset()

    def another(self) -> Session:
        return type(self)(self._destination, self._dataset, self._engine)

    def destination(self, *, is_locked: bool) -> Any:
        return self._destination

    def close(self) -> None:
        self._client.close_connection()
