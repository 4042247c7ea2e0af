"""The dlt destination that lands objects over a session with a Spark SQL server.

dlt writes Parquet files; each is put into the storage, where the server reads it into the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, cast

from dlt.common.configuration import configspec
from dlt.common.data_writers.escape import escape_databricks_identifier
from dlt.common.destination import Destination, DestinationCapabilitiesContext
from dlt.common.destination.client import (
    DestinationClientDwhConfiguration,
    HasFollowupJobs,
    LoadJob,
    RunnableLoadJob,
)
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema import Schema
from dlt.common.schema.typing import TColumnSchema, TColumnType
from dlt.destinations.exceptions import (
    DatabaseTerminalException,
    DatabaseTransientException,
    DatabaseUndefinedRelation,
)
from dlt.destinations.job_client_impl import SqlJobClientWithStagingDataset
from dlt.destinations.sql_client import DBApiCursorImpl, SqlClientBase, raise_database_error
from dlt.destinations.type_mapping import TypeMapperImpl

from tailrace.warehouse.bindings import literal_text
from tailrace.warehouse.spark import errors
from tailrace.warehouse.spark.rewriting import DIALECT
from tailrace.warehouse.spark.session import NAME_BYTES_MAX, SparkSession

# What Spark's DECIMAL can hold.
DECIMAL_DIGITS, DECIMAL_PLACES = 38, 9
QUERY_BYTES_MAX = 16 * 1024 * 1024

TYPES: dict[Any, str] = {
    "json": "STRING",
    "text": "STRING",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "bigint": "BIGINT",
    "binary": "BINARY",
    "decimal": f"DECIMAL({DECIMAL_DIGITS},{DECIMAL_PLACES})",
    "time": "STRING",
}
PRECISE_TYPES: dict[Any, str] = {
    "decimal": "DECIMAL(%i,%i)",
    "wei": "DECIMAL(%i,%i)",
}
TYPES_OF_DLT: dict[str, Any] = {
    "STRING": "text",
    "DOUBLE": "double",
    "FLOAT": "double",
    "BOOLEAN": "bool",
    "DATE": "date",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_NTZ": "timestamp",
    "BIGINT": "bigint",
    "INT": "bigint",
    "SMALLINT": "bigint",
    "TINYINT": "bigint",
    "BINARY": "binary",
    "DECIMAL": "decimal",
}


class SparkTypes(TypeMapperImpl):
    """dlt's types as Spark's. Spark has no time of day and no JSON; both are texts."""

    sct_to_unbound_dbt = TYPES
    sct_to_dbt = PRECISE_TYPES
    dbt_to_sct = TYPES_OF_DLT

    def to_db_integer_type(
        self, column: TColumnSchema, table: PreparedTableSchema | None = None
    ) -> str:
        return "BIGINT"

    def to_db_datetime_type(
        self, column: TColumnSchema, table: PreparedTableSchema | None = None
    ) -> str:
        return "TIMESTAMP" if column.get("timezone", True) else "TIMESTAMP_NTZ"

    def from_destination_type(
        self, db_type: str, precision: int | None, scale: int | None
    ) -> TColumnType:
        return super().from_destination_type(db_type.split("(")[0].upper(), precision, scale)


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


class SparkLoadJob(RunnableLoadJob, HasFollowupJobs):
    """Loads one Parquet file."""

    def run(self) -> None:
        client = self._job_client
        assert isinstance(client, SparkClient)
        table = client.sql_client.make_qualified_table_name(self.load_table_name)
        client.session.load_parquet(Path(self._file_path), table)


class SparkClient(SqlJobClientWithStagingDataset):
    """dlt's job client."""

    def __init__(
        self,
        schema: Schema,
        config: SparkConfiguration,
        capabilities: DestinationCapabilitiesContext,
        session: SparkSession,
    ) -> None:
        dataset, staging_dataset = self.create_dataset_names(schema, config)
        client = SparkSqlClient(session, dataset, staging_dataset, capabilities)
        super().__init__(schema, config, client)
        self.session = session
        self.type_mapper = capabilities.get_type_mapper()

    def create_load_job(
        self, table: PreparedTableSchema, file_path: str, load_id: str, restore: bool = False
    ) -> LoadJob:
        job = super().create_load_job(table, file_path, load_id, restore)
        return job or SparkLoadJob(file_path)

    def _from_db_type(self, db_type: str, precision: int | None, scale: int | None) -> TColumnType:
        return self.type_mapper.from_destination_type(db_type, precision, scale)


@configspec
class SparkConfiguration(DestinationClientDwhConfiguration):
    """Nothing is configured: the session is open."""

    destination_type: str = "spark"


class SparkDestination(Destination[SparkConfiguration, SparkClient]):
    """Lands objects over an open session."""

    spec = SparkConfiguration

    def __init__(self, session: SparkSession) -> None:
        self._session = session
        super().__init__()

    @property
    def client_class(self) -> type[SparkClient]:
        return SparkClient

    def client(self, schema: Schema, initial_config: Any = None) -> SparkClient:
        config = self.configuration(initial_config)
        capabilities = self.capabilities(config, schema.naming)
        return SparkClient(schema, config, capabilities, self._session)

    def _raw_capabilities(self) -> DestinationCapabilitiesContext:
        capabilities = DestinationCapabilitiesContext()
        capabilities.preferred_loader_file_format = "parquet"
        capabilities.supported_loader_file_formats = ["parquet"]
        capabilities.type_mapper = SparkTypes
        capabilities.escape_identifier = escape_databricks_identifier
        capabilities.escape_literal = lambda value: literal_text(value, DIALECT)
        capabilities.has_case_sensitive_identifiers = False
        capabilities.decimal_precision = (DECIMAL_DIGITS, DECIMAL_PLACES)
        capabilities.wei_precision = (DECIMAL_DIGITS, 0)
        capabilities.max_identifier_length = NAME_BYTES_MAX
        capabilities.max_column_identifier_length = NAME_BYTES_MAX
        capabilities.max_query_length = QUERY_BYTES_MAX
        capabilities.is_max_query_length_in_bytes = True
        capabilities.max_text_data_type_length = QUERY_BYTES_MAX
        capabilities.is_max_text_data_type_length_in_bytes = True
        capabilities.supports_ddl_transactions = True
        capabilities.supports_multiple_statements = False
        capabilities.alter_add_multi_column = False
        capabilities.supports_truncate_command = False
        capabilities.schema_supports_numeric_precision = False
        capabilities.supported_merge_strategies = ["delete-insert"]
        capabilities.supported_replace_strategies = ["truncate-and-insert"]
        capabilities.loader_parallelism_strategy = "sequential"
        capabilities.sqlglot_dialect = "spark"
        capabilities.timestamp_precision = 6
        capabilities.max_timestamp_precision = 6
        return capabilities
