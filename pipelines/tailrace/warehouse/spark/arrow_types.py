"""The Spark SQL names of Arrow's types, in which a server describes its results."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# The type of a column that is NULL in every row, and that no table can have.
VOID = "VOID"


def spark_type(type_: pa.DataType) -> str:
    """The name of a type.

    >>> import pyarrow as pa
    >>> spark_type(pa.list_(pa.struct([("a b", pa.decimal128(18, 2))])))
    'ARRAY<STRUCT<`a b`: DECIMAL(18,2)>>'
    """
    import pyarrow as pa

    kinds = pa.types
    if kinds.is_list(type_) or kinds.is_large_list(type_) or kinds.is_fixed_size_list(type_):
        return f"ARRAY<{spark_type(type_.value_type)}>"
    if kinds.is_struct(type_):
        fields = ", ".join(
            f"`{field.name.replace('`', '``')}`: {spark_type(field.type)}" for field in type_
        )
        return f"STRUCT<{fields}>"
    if kinds.is_map(type_):
        return f"MAP<{spark_type(type_.key_type)}, {spark_type(type_.item_type)}>"
    if kinds.is_decimal(type_):
        return f"DECIMAL({type_.precision},{type_.scale})"
    if kinds.is_timestamp(type_):
        return "TIMESTAMP" if type_.tz else "TIMESTAMP_NTZ"
    if kinds.is_date(type_):
        return "DATE"
    return _PLAIN.get(str(type_), "STRING")


_PLAIN = {
    "null": VOID,
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INT",
    "int64": "BIGINT",
    # Spark has no unsigned types; each fits the next wider one.
    "uint8": "SMALLINT",
    "uint16": "INT",
    "uint32": "BIGINT",
    "uint64": "DECIMAL(20,0)",
    "halffloat": "FLOAT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "binary": "BINARY",
    "large_binary": "BINARY",
    "binary_view": "BINARY",
}
