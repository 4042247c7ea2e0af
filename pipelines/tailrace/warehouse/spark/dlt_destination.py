"""The dlt destination that lands objects over a session with a Spark SQL server.

dlt writes Parquet files; each is put into the storage, where the server reads it into the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from dlt.destinations.job_client_impl import SqlJobClientWithStagingDataset

from tailrace.warehouse.bindings import literal_text
from tailrace.warehouse.partitions import created_partition
from tailrace.warehouse.spark.dlt_sql_client import SparkSqlClient
from tailrace.warehouse.spark.dlt_types import DECIMAL_DIGITS, DECIMAL_PLACES, SparkTypes
from tailrace.warehouse.spark.rewriting import DIALECT
from tailrace.warehouse.spark.session import NAME_BYTES_MAX, SparkSession

QUERY_BYTES_MAX = 16 * 1024 * 1024


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

    def _get_table_update_sql(
        self, table_name: str, new_columns: Sequence[TColumnSchema], generate_alter: bool
    ) -> list[str]:
        statements = super()._get_table_update_sql(table_name, new_columns, generate_alter)
        partition = created_partition(self.sql_client, new_columns, generate_alter=generate_alter)
        if partition is not None:
            column, unit = partition
            statements[0] += f" PARTITIONED BY ({unit}s({column}))"
        return statements

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
