"""What the last extract left in the warehouse: dlt's state and schema, read without dlt.

dlt keeps both as text in tables of the dataset: the state as compressed JSON in
`_dlt_pipeline_state`, the schema as JSON in `_dlt_version`. A format that is not known here is read
by dlt itself.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tailrace.salesforce.extract.landing import Landing
from tailrace.salesforce.extract.reconciliation import PENDING
from tailrace.salesforce.extract.staging import SOURCE
from tailrace.warehouse.statements import TableName

STATE_TABLE, SCHEMA_TABLE, LOADS_TABLE = "_dlt_pipeline_state", "_dlt_version", "_dlt_loads"
# The formats of dlt that are read here.
STATE_ENGINE, SCHEMA_ENGINE = 4, 11
NAMING = frozenset({"snake_case", "dlt.common.normalizers.naming.snake_case"})


class NotStored(Exception):
    """A name that no extract has landed yet, so that only dlt can normalize it."""


@dataclass(frozen=True, kw_only=True)
class StoredExtract:
    """What the last extract left.

    Attributes:
        source_state: dlt's state of the source.
        states: The part of each resource, by its table.
        tables: dlt's schema of each table.
    """

    source_state: Mapping[str, Any]
    states: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, Mapping[str, Any]]

    def normalize(self, name: str) -> str:
        """The table of an object that has landed; the column of a field that all tables have.

        Raises:
            NotStored: dlt has to normalize the name.
        """
        if name in ("Id", "IsDeleted"):
            return {"Id": "id", "IsDeleted": "is_deleted"}[name]
        table = self.table_of(name)
        if table is None:
            raise NotStored(name)
        return table

    def table_of(self, name: str) -> str | None:
        """The table of an object, by its API name in any case; None if it has not landed."""
        for table, state in self.states.items():
            if str(state.get("object", "")).lower() == name.lower():
                return table
        return None

    def has_all(self, names: Iterable[str]) -> bool:
        """Whether all objects have landed."""
        return all(self.table_of(name) in self.tables for name in names)


def read_stored(landing: Landing) -> StoredExtract | None:
    """What the last extract left, or None where dlt has to be asked.

    That is before anything has landed, after a load whose staging tables may not be applied yet,
    and where the stored format or the naming convention is another one.
    """
    landed = {str(row[0]) for row in landing.run("warehouse/tables", dataset=landing.dataset)}
    if not {STATE_TABLE, SCHEMA_TABLE, LOADS_TABLE} <= landed:
        return None
    tables = {
        key: TableName(landing.dataset, name)
        for key, name in (
            ("states", STATE_TABLE),
            ("loads", LOADS_TABLE),
            ("versions", SCHEMA_TABLE),
        )
    }
    state = _state_in(
        landing.run("landing/stored_state", tables=tables, pipeline=landing.pipeline_name)
    )
    schema = _schema_in(landing.run("landing/stored_schema", tables=tables, schema=SOURCE))
    if state is None or schema is None:
        return None
    source_state = (state.get("sources") or {}).get(SOURCE) or {}
    states = source_state.get("resources") or {}
    if any(resource.get(PENDING) for resource in states.values()):
        return None
    # A table of the schema may be missing when somebody dropped it.
    known = {name: table for name, table in schema["tables"].items() if name in landed}
    return StoredExtract(source_state=source_state, states=states, tables=known)


def _state_in(rows: list[tuple[Any, ...]]) -> Mapping[str, Any] | None:
    if not rows:
        return None
    engine, text = rows[0]
    if engine != STATE_ENGINE:
        return None
    try:
        state = json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
    except (binascii.Error, zlib.error, ValueError):
        return None
    return state if isinstance(state, dict) else None


def _schema_in(rows: list[tuple[Any, ...]]) -> Mapping[str, Any] | None:
    if not rows:
        return None
    engine, text = rows[0]
    if engine != SCHEMA_ENGINE:
        return None
    try:
        schema = json.loads(text)
    except ValueError:
        return None
    names = (schema.get("normalizers") or {}).get("names")
    return schema if names in NAMING else None
