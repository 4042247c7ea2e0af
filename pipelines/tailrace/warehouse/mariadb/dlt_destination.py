"""The dlt destination that lands objects on a MariaDB server: dlt's own for SQLAlchemy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dlt
from dlt.common.destination import DestinationCapabilitiesContext
from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema.typing import TColumnSchema
from dlt.destinations.impl.sqlalchemy.dialect import (
    MysqlDialectCapabilities,
    register_dialect_capabilities,
)
from dlt.destinations.impl.sqlalchemy.type_mapper import MysqlVariantTypeMapper
from sqlalchemy import URL, Index, Table, types
from sqlalchemy.dialects import mysql

from tailrace.warehouse.mariadb.session import COLLATION, NAME_BYTES_MAX

BACKEND = "mariadb"
DRIVER = "mariadb+pymysql"
# An id of Salesforce has 18 characters.
INDEXED_CHARACTERS = 32


class MariadbTypes(MysqlVariantTypeMapper):
    """dlt's types as MariaDB's: texts are compared by their bytes and have no length."""

    def db_type_from_text_type(
        self, column: TColumnSchema, table: PreparedTableSchema
    ) -> types.TypeEngine[Any]:
        return mysql.LONGTEXT(collation=COLLATION)


class MariadbCapabilities(MysqlDialectCapabilities):
    """What dlt must know of MariaDB."""

    def adjust_capabilities(self, caps: DestinationCapabilitiesContext, dialect: Any) -> None:
        super().adjust_capabilities(caps, dialect)
        caps.max_identifier_length = caps.max_column_identifier_length = NAME_BYTES_MAX

    def adapt_table(self, table: Table, table_schema: PreparedTableSchema) -> Table:
        """Index the ids: a merge looks each of them up."""
        for column in table.columns:
            described = table_schema["columns"].get(column.name, {})
            keys = described.get("primary_key") or described.get("merge_key")
            if keys or column.name == "id":
                Index(f"tr__{column.name}", column, mysql_length=INDEXED_CHARACTERS)
        return table

    def type_mapper_class(self) -> type[Any]:
        return MariadbTypes


def destination_of(options: Mapping[str, Any], dataset: str) -> Any:
    """dlt's destination for the arguments of the driver and a database that exists."""
    register_dialect_capabilities(BACKEND, MariadbCapabilities)
    query = {name: str(options[name]) for name in ("unix_socket", "ssl_ca") if options.get(name)}
    url = URL.create(
        DRIVER,
        username=options["user"],
        password=options["password"] or None,
        host=options.get("host"),
        port=options.get("port"),
        database=dataset,
        query={"charset": "utf8mb4", **query},
    )
    return dlt.destinations.sqlalchemy(
        credentials=url.render_as_string(hide_password=False), destination_name="mariadb"
    )
