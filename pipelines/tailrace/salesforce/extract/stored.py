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
from dataclasses import field
from typing import Any

from tailrace.dataclass import dataclass
from tailrace.salesforce.extract.landing import Landing
from tailrace.salesforce.extract.staging import SOURCE
from tailrace.warehouse.statements import TableName

STATE_TABLE, SCHEMA_TABLE, LOADS_TABLE = "_dlt_pipeline_state", "_dlt_version", "_dlt_loads"
# The name of what is known of the last extract; see `warehouse.file_facts`.
FACT = "extract"
# The formats of dlt that are read here.
STATE_ENGINE, SCHEMA_ENGINE = 4, 11
NAMING = frozenset({"snake_case", "dlt.common.normalizers.naming.snake_case"})


class NotStored(Exception):
    """A name that no extract has landed yet, so that only dlt can normalize it."""


@dataclass(frozen=True, kw_only=True)
class StoredExtract:
    """What the last extract left.

    Attributes:
        document: dlt's whole state.
        tables: dlt's schema of each table.
        load_id: The load that stored the state.
        schema_hash: dlt's hash of the schema.
        live: Whether tables have a row that is not deleted, as far as it is known.
    """

    document: Mapping[str, Any]
    tables: Mapping[str, Mapping[str, Any]]
    load_id: str
    schema_hash: str
    live: Mapping[str, bool] = field(default_factory=dict)

    @property
    def source_state(self) -> Mapping[str, Any]:
        """The state of the source."""
        state: Mapping[str, Any] = (self.document.get("sources") or {}).get(SOURCE) or {}
        return state

    @property
    def states(self) -> Mapping[str, Mapping[str, Any]]:
        """The state of each resource, by its table."""
        states: Mapping[str, Mapping[str, Any]] = self.source_state.get("resources") or {}
        return states

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


def known_stored(landing: Landing) -> StoredExtract | None:
    """What the last extract left, if no process has written to the file of the warehouse since."""
    known = landing.facts.get(FACT)
    if known is None or known["dataset"] != landing.dataset:
        return None
    return StoredExtract(
        document=known["document"],
        tables=known["tables"],
        load_id=known["load_id"],
        schema_hash=known["schema_hash"],
        live=known["live"],
    )


def keep_stored(landing: Landing, stored: StoredExtract, live: Mapping[str, bool]) -> None:
    """Keep what the last extract left for the next one, after an extract that changed nothing.

    Args:
        live: Whether tables have a row that is not deleted.
    """
    landing.facts.keep(
        FACT,
        {
            "dataset": landing.dataset,
            "document": stored.document,
            "tables": stored.tables,
            "load_id": stored.load_id,
            "schema_hash": stored.schema_hash,
            "live": {**stored.live, **live},
        },
    )


def read_stored(landing: Landing) -> StoredExtract | None:
    """What the last extract left, or None where dlt has to be asked.

    That is before anything has landed, and where the stored format or the naming convention is
    another one.
    """
    landed = {str(row[0]) for row in landing.run("warehouse/tables", dataset=landing.dataset)}
    if not {STATE_TABLE, SCHEMA_TABLE, LOADS_TABLE} <= landed:
        return None
    tables = own_tables(landing.dataset)
    states = landing.run("landing/stored_state", tables=tables, pipeline=landing.pipeline_name)
    schemas = landing.run("landing/stored_schema", tables=tables, schema=SOURCE)
    document, schema = _state_in(states), _schema_in(schemas)
    if document is None or schema is None:
        return None
    return StoredExtract(
        document=document,
        # A table of the schema may be missing when somebody dropped it.
        tables={name: table for name, table in schema["tables"].items() if name in landed},
        load_id=str(states[0][2]),
        schema_hash=str(schemas[0][2]),
    )


def own_tables(dataset: str) -> Mapping[str, TableName]:
    """dlt's own tables, by their names in statements."""
    return {
        "states": TableName(dataset, STATE_TABLE),
        "loads": TableName(dataset, LOADS_TABLE),
        "versions": TableName(dataset, SCHEMA_TABLE),
    }


def _state_in(rows: list[tuple[Any, ...]]) -> Mapping[str, Any] | None:
    if not rows:
        return None
    engine, text, _ = rows[0]
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
    engine, text, _ = rows[0]
    if engine != SCHEMA_ENGINE:
        return None
    try:
        schema = json.loads(text)
    except ValueError:
        return None
    names = (schema.get("normalizers") or {}).get("names")
    return schema if names in NAMING else None
