"""dlt's types as Spark's, and Spark's as dlt's."""

from __future__ import annotations

from typing import Any

from dlt.common.destination.typing import PreparedTableSchema
from dlt.common.schema.typing import TColumnSchema, TColumnType
from dlt.destinations.type_mapping import TypeMapperImpl

# What Spark's DECIMAL can hold.
DECIMAL_DIGITS, DECIMAL_PLACES = 38, 9

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
