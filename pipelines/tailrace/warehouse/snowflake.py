"""A session with Snowflake, over the connection of dlt's destination.

Snowflake stores unquoted names in upper case, and so does dlt; Tailrace reads them in lower case.
A statement that creates or alters a table commits the open transaction. Types are compared as
texts, so a column of a query and the same column of a table have one name (`sql/warehouse.sql`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tailrace.warehouse.session import DltSession
from tailrace.warehouse.statements import statement

# What sqlglot makes of DuckDB's DESCRIBE of a query. Snowflake has no such statement; its driver
# describes queries.
DESCRIBE = "DESCRIBE TABLE "
# Types whose values arrive as the text of a JSON document.
DOCUMENTS = ("VARIANT", "OBJECT", "ARRAY", "MAP")
# The connector's names of types that `information_schema` names differently.
NAMES = {"REAL": "FLOAT", "FIXED": "NUMBER"}


class SnowflakeSession(DltSession):
    """A connection whose temporary tables, and new names of tables, are in the ledger's dataset."""

    def __init__(self, destination: Any, dataset: str, engine: str | None = None) -> None:
        super().__init__(destination, dataset, engine)
        if not self.execute(statement("warehouse/dataset", self.dialect, dataset=dataset)):
            self.create_dataset(dataset)

    def create_dataset(self, name: str) -> None:
        super().create_dataset(name)
        # A new schema becomes the session's own, and its temporary tables would be out of reach.
        self.execute(f"USE SCHEMA {self._client.fully_qualified_dataset_name()}")

    def execute(self, sql: str) -> Sequence[Sequence[Any]] | None:
        if sql.startswith(f"{DESCRIBE}SELECT "):
            return self._columns_of(sql.removeprefix(DESCRIBE))
        from snowflake.connector.constants import FIELD_ID_TO_NAME

        with self._client.execute_query(sql) as cursor:
            described = cursor.native_cursor.description
            rows = cursor.fetchall() if described else None
        documents = [
            place
            for place, column in enumerate(described or ())
            if FIELD_ID_TO_NAME[column.type_code] in DOCUMENTS
        ]
        return _with_documents(rows, documents) if rows and documents else rows

    def _columns_of(self, sql: str) -> list[tuple[str, str]]:
        """The columns of a query with their types; Snowflake compiles it and does not run it."""
        with self._client.native_connection.cursor() as cursor:
            return [(column.name, _type(column)) for column in cursor.describe(sql)]


def _type(column: Any) -> str:
    """The type of a column of a result as `information_schema` has it, with the widest number."""
    from snowflake.connector.constants import FIELD_ID_TO_NAME

    name = FIELD_ID_TO_NAME[column.type_code]
    name = NAMES.get(name, name)
    return f"NUMBER(38,{column.scale or 0})" if name == "NUMBER" else name


def _with_documents(
    rows: Sequence[Sequence[Any]], places: Sequence[int]
) -> Sequence[Sequence[Any]]:
    """The rows with the documents at these places parsed."""
    parsed = []
    for row in rows:
        values = list(row)
        for place in places:
            if values[place] is not None:
                values[place] = json.loads(values[place])
        parsed.append(values)
    return parsed
