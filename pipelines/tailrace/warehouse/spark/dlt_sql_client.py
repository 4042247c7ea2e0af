"""dlt's SQL client over a session with a Spark SQL server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, cast

from dlt.common.destination import DestinationCapabilitiesContext
from dlt.destinations.exceptions import (
    DatabaseTerminalException,
    DatabaseTransientException,
    DatabaseUndefinedRelation,
)
from dlt.destinations.sql_client import DBApiCursorImpl, SqlClientBase, raise_database_error

from tailrace.warehouse.bindings import literal_text
from tailrace.warehouse.spark import errors
from tailrace.warehouse.spark.rewriting import DIALECT
from tailrace.warehouse.spark.session import SparkSession


class SparkSqlClient(SqlClientBase[SparkSession]):
    """dlt's client over a session that is open already."""

    dbapi: ClassVar[Any] = errors
    cursor_impl = DBApiCursorImpl

    def __init__(
        self,
        session: SparkSession,
        dataset: str,
        staging_dataset: str,
        capabilities: DestinationCapabilitiesContext,
    ) -> None:
        super().__init__(cast(str, None), dataset, staging_dataset, capabilities)
        self._session = session
        self._is_open = False

    def open_connection(self) -> SparkSession:
        self._is_open = True
        return self._session

    def close_connection(self) -> None:
        self._is_open = False

    @property
    def native_connection(self) -> SparkSession:
        return self._session

    @contextmanager
    @raise_database_error
    def begin_transaction(self) -> Iterator[SparkSqlClient]:
        with self._session.transaction():
            yield self

    def commit_transaction(self) -> None:
        self._session.commit()

    def rollback_transaction(self) -> None:
        self._session.rollback()

    def create_dataset(self) -> None:
        self._session.create_dataset(self.dataset_name)

    @raise_database_error
    def execute_sql(self, sql: Any, *args: Any, **kwargs: Any) -> Sequence[Sequence[Any]] | None:
        return self._session.execute(_with_values(str(sql), args))

    @contextmanager
    @raise_database_error
    def execute_query(self, query: Any, *args: Any, **kwargs: Any) -> Iterator[DBApiCursorImpl]:
        rows: Any = _Rows(self._session, _with_values(str(query), args))
        yield DBApiCursorImpl(rows)

    @staticmethod
    def _make_database_exception(ex: Exception) -> Exception:
        if isinstance(ex, errors.BinderError) and "NOT_FOUND" in str(ex):
            return DatabaseUndefinedRelation(ex)
        if isinstance(ex, errors.DataError | errors.ProgrammingError):
            return DatabaseTerminalException(ex)
        return DatabaseTransientException(ex)

    @staticmethod
    def is_dbapi_exception(ex: Exception) -> bool:
        return type(ex).__module__ == errors.__name__


class _Rows:
    """The rows of a query as dlt reads a cursor."""

    def __init__(self, session: SparkSession, sql: str) -> None:
        table = session.fetch(sql)
        self.description = [(name,) for name in table.schema.names] if table is not None else None
        columns = [column.to_pylist() for column in table.columns] if table is not None else []
        self._rows = list(zip(*columns, strict=True))

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.fetchmany(len(self._rows))

    def fetchmany(self, rows_max: int) -> list[tuple[Any, ...]]:
        taken, self._rows = self._rows[:rows_max], self._rows[rows_max:]
        return taken

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(iter(self.fetchmany(1)), None)

    def close(self) -> None:
        self._rows = []


def _with_values(sql: str, values: Sequence[Any]) -> str:
    """A query of dlt with its values as literals."""
    if not values:
        return sql
    first, *others = sql.split("%s")
    texts = [literal_text(value, DIALECT) for value in values]
    return first + "".join(text + part for text, part in zip(texts, others, strict=True))
